"""Settings: the environment, then kizy.toml, then the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
from kizy.orchestrator.settings import Settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "kizy"
    folder.mkdir()
    monkeypatch.setenv("KIZY_HOME", str(folder))
    for name in ("KIZY_MODEL", "KIZY_PICTURES", "KIZY_PREVIEWS"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_without_anything_the_defaults_hold() -> None:
    settings = Settings()
    assert (settings.pictures, settings.model, settings.previews) == (None, None, True)


def test_kizy_toml_beats_the_defaults(home: Path) -> None:
    (home / "kizy.toml").write_text('model = "from file"\npreviews = false\n')
    assert (Settings().model, Settings().previews) == ("from file", False)


def test_the_environment_beats_kizy_toml(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "kizy.toml").write_text('model = "from file"\n')
    monkeypatch.setenv("KIZY_MODEL", "from environment")
    assert Settings().model == "from environment"


def test_one_setting_from_the_environment_leaves_the_others_to_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "kizy.toml").write_text('model = "from file"\npreviews = true\n')
    monkeypatch.setenv("KIZY_PREVIEWS", "0")
    assert (Settings().model, Settings().previews) == ("from file", False)


def test_a_file_with_words_of_a_later_version_is_read(home: Path) -> None:
    (home / "kizy.toml").write_text('later = 1\nmodel = "m"\n')
    assert Settings().model == "m"
