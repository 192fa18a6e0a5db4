"""What an asker wrote becomes names of lists, or paths where they may be given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import InputError, KizyError
from kizy.core.request import GenerationRequest, TrainingRequest
from kizy.orchestrator.planning.resolve import path_of, resolve, resolve_training

from tests.unit.orchestrator.test_lora_choice import lora

PATHS = (
    "/any/x.safetensors",
    "~/x.safetensors",
    "~nobody/x.safetensors",
    "../x.safetensors",
    "./x.safetensors",
    "C:\\x.safetensors",
    "\\\\host\\share\\x.safetensors",
    "https://host/x.safetensors",
)


def wish(prompt: str = "a fox", **values: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": prompt, **values})


def resolved(request: GenerationRequest, **options: Any) -> GenerationRequest:
    return resolve(request, **options).request


def named(name: str) -> tuple[GenerationRequest, ...]:
    """Requests that name a file in each way in which one can be named."""
    return (
        wish(loras=[{"name": name}]),
        wish(f"a fox <lora:{name}:1>"),
        wish(model=name),
    )


@pytest.mark.parametrize("name", PATHS)
def test_whoever_may_give_no_paths_is_refused_by_the_names_form(name: str) -> None:
    for request in named(name):
        with pytest.raises(InputError) as caught:
            resolve(request, files=False)
        assert caught.value.code == "path_refused"
        assert name not in caught.value.message


def test_a_path_in_a_prompts_tag_is_refused_before_anything_is_looked_at(tmp_path: Path) -> None:
    there, gone = lora(tmp_path, "mine"), tmp_path / "other.safetensors"
    said: list[dict[str, str]] = []
    for path in (there, gone):
        with pytest.raises(InputError) as caught:
            resolve(wish(f"a fox <lora:{path}:1>"), files=False)
        said.append(caught.value.as_dict())
    assert said[0] == said[1] and said[0]["code"] == "path_refused"


@pytest.mark.parametrize("name", ["folder/x.safetensors", "folder\\x", "x.safetensors"])
def test_a_relative_name_stays_a_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lora(tmp_path / "folder", "x")
    lora(tmp_path, "x")
    for request in named(name):
        read = resolved(request, files=False)
        assert path_of(read.model) is None
        assert not isinstance(read.loras, tuple) or path_of(read.loras[0].name) is None


def test_whoever_may_give_paths_names_a_file_of_the_folder_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = lora(tmp_path, "x")
    request = resolved(wish(loras=[{"name": "x.safetensors"}, {"name": "x"}]), files=True)
    assert isinstance(request.loras, tuple)
    assert [path_of(one.name) for one in request.loras] == [path, None]


def test_a_model_of_the_list_goes_before_a_folder_that_is_called_so(
    kizy_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "starter"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model_index.json").write_text("{}")
    assert path_of(resolved(wish(model="mine"), files=True).model) == tmp_path / "mine"
    assert resolved(wish(model="starter"), files=True).model == "starter"
    listed = kizy_home / "models" / "mine"
    listed.mkdir(parents=True)
    (listed / "model_index.json").write_text("{}")
    assert resolved(wish(model="mine"), files=True).model == "mine"


def test_a_trainings_base_is_read_by_the_same_rule(tmp_path: Path) -> None:
    def asked(base: str) -> TrainingRequest:
        return TrainingRequest(files=("a.png",), name="Mimi", base=base)

    for name in PATHS:
        with pytest.raises(InputError) as caught:
            resolve_training(asked(name), files=False)
        assert caught.value.code == "path_refused"
    assert resolve_training(asked("folder/x"), files=False).base == "folder/x"
    assert resolve_training(asked("auto"), files=False).base == "auto"
    assert resolve_training(asked(str(tmp_path / ".." / "x")), files=True).base == str(
        tmp_path.parent / "x"
    )


def test_pictures_are_named_as_they_are_found() -> None:
    request = wish(
        start={"picture": "a"},
        mask={"picture": "b"},
        controls=[{"kind": "canny", "picture": "c"}],
        improve=[{"what": "mask", "mask": "d"}],
    )
    read = resolved(request, files=False, picture=lambda given: f"/uploads/{given}")
    assert read.start and read.start.picture == "/uploads/a"
    assert read.mask and read.mask.picture == "/uploads/b"
    assert read.controls[0].picture == "/uploads/c"
    assert read.improve[0].mask == "/uploads/d"


def test_a_path_in_the_line_of_a_part_names_nothing() -> None:
    for name in PATHS:
        request = resolved(wish(improve=[{"prompts": [f"her face <lora:{name}:1>"]}]), files=False)
        assert request.improve[0].prompts == ("her face",)
        assert request.loras == "auto"


@pytest.mark.parametrize("name", ["x" * 2000, "a\0b"])
def test_a_name_that_nothing_can_have_is_refused_and_never_breaks(name: str) -> None:
    for files in (False, True):
        try:
            request = resolved(wish(f"a fox <lora:{name}:1>"), files=files)
        except KizyError:
            continue
        assert isinstance(request.loras, tuple)
