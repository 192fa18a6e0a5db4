from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.workflows.graph import PORT_KINDS
from kizy.orchestrator.backends.comfyui.workflows.library import API_FOLDER, load_templates
from kizy.orchestrator.backends.comfyui.workflows.template import (
    SCHEMA_FILE,
    Port,
    Template,
    parse_template,
    read_template,
    schema_json,
    template_json,
)
from kizy.tools.workflows.write_templates import files

SDXL = API_FOLDER / "sdxl-checkpoint.json"
ALL = sorted(API_FOLDER.glob("*.json"))


def values() -> dict[str, Any]:
    return json.loads(SDXL.read_text(encoding="utf-8"))


def test_the_files_are_what_the_script_writes() -> None:
    wanted = files()
    assert {path for path in wanted if path != SCHEMA_FILE} == set(ALL)
    stale = [path.name for path, text in wanted.items() if path.read_text("utf-8") != text]
    assert stale == [], "run python -m kizy.tools.workflows.write_templates"


def test_the_schema_is_up_to_date() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_json()


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_file_fits_the_schema(path: Path) -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_file_survives_reading_and_writing(path: Path) -> None:
    assert template_json(read_template(path)) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("template", load_templates().values(), ids=lambda template: template.id)
def test_every_node_has_a_title_of_its_own_and_a_group(template: Template) -> None:
    titles = [node.meta.title for node in template.graph.values()]
    assert len(set(titles)) == len(titles)
    assert all(node.meta.group for node in template.graph.values())


def _without_node(data: dict[str, Any]) -> None:
    del data["graph"]["1"]


def _wrong_place(data: dict[str, Any]) -> None:
    data["parameters"]["seed"] = ["5.sead"]


def _link_as_parameter(data: dict[str, Any]) -> None:
    data["parameters"]["seed"] = ["5.model"]


def _wrong_class_list(data: dict[str, Any]) -> None:
    data["requires"]["nodes"].append("VAEEncode")


def _no_output(data: dict[str, Any]) -> None:
    data["outputs"] = []


def _no_port(data: dict[str, Any]) -> None:
    del data["ports"]["clip"]


def _unknown_field(data: dict[str, Any]) -> None:
    data["colour"] = "red"


def _unknown_port(data: dict[str, Any]) -> None:
    data["ports"]["colour"] = ["1", 0]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_node, r"there is no input 1\.ckpt_name"),
        (_wrong_place, r"parameters\.seed: there is no input 5\.sead"),
        (_link_as_parameter, r"parameters\.seed: 5\.model is a link"),
        (_wrong_class_list, r"requires\.nodes: VAEEncode stands in only one"),
        (_no_output, "outputs: no node saves"),
        (_no_port, "ports: clip is missing"),
        (_unknown_field, "colour: Extra inputs"),
        (_unknown_port, r"ports\.colour"),
    ],
)
def test_a_fault_is_named_with_its_place(
    spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    data = values()
    spoil(data)
    with pytest.raises(EngineError, match=said) as caught:
        parse_template(data, "mine.json")
    assert caught.value.code == "template_invalid"
    assert caught.value.message.startswith("mine.json: ")


def test_a_link_into_nowhere_is_named() -> None:
    data = values()
    data["graph"]["7"]["inputs"]["images"] = ["99", 0]
    with pytest.raises(EngineError, match=r"graph\.7\.images: there is no node 99"):
        parse_template(data, "mine.json")


def test_a_workflow_saved_from_the_page_is_told_apart() -> None:
    with pytest.raises(EngineError, match="as ComfyUI's page saves it"):
        parse_template({"nodes": [], "links": []}, "mine.json")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"id": ', encoding="utf-8")
    with pytest.raises(EngineError, match=r"mine\.json cannot be read") as caught:
        read_template(path)
    assert caught.value.code == "template_invalid"


def test_a_template_must_bear_its_files_name(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(SDXL.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(EngineError, match=r"other\.json holds the template sdxl-checkpoint"):
        load_templates(tmp_path)


def test_every_port_has_a_kind() -> None:
    assert set(PORT_KINDS) == set(get_args(Port))
