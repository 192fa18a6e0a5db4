from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
from kizy.core import home


def test_all_folders_lie_below_kizy_home(tmp_path: Path) -> None:
    folders = [
        home.models_folder(),
        home.loras_folder(),
        home.inputs_folder(),
        home.cache_folder(),
        home.pictures_folder(),
    ]
    assert {folder.parent for folder in folders} == {tmp_path}
    assert len(set(folders)) == len(folders)


def test_a_tilde_in_kizy_home_is_the_persons_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KIZY_HOME", "~/kizy")
    assert home.home() == tmp_path / "kizy"


@pytest.mark.parametrize("value", [None, ""])
def test_without_kizy_home_the_systems_folders_are_taken(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("KIZY_HOME")
    else:
        monkeypatch.setenv("KIZY_HOME", value)
    assert home.home() == platformdirs.user_data_path("kizy", False)
    assert home.pictures_folder() == platformdirs.user_pictures_path() / "Kizy"


def test_asking_for_a_folder_makes_none(tmp_path: Path) -> None:
    home.models_folder()
    home.pictures_folder()
    assert list(tmp_path.iterdir()) == []
