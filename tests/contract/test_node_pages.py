"""What the nodes say of themselves on ComfyUI's page: tooltips, translations and help pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAKES = Path(__file__).parents[1] / "fakes"
LANGUAGES = ("en", "de", "zh")
SOURCE = "en"
"""Its texts stand in the nodes, too."""

MARKS = tuple("#|-123")
"""What lines of headings, tables and lists begin with."""

# ComfyUI as far as the nodes' descriptions need it; then what they describe.
DESCRIBE = """
import asyncio, json, sys, types

def module(name, **values):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(values)

class KSampler:
    SAMPLERS, SCHEDULERS = ["euler"], ["simple"]

module("comfy")
module("comfy.samplers", KSampler=KSampler)
module("folder_paths", get_filename_list=lambda kind: [])
module("nodes", NODE_CLASS_MAPPINGS={})
from kizy.nodes.extension import KizyExtension
schemas = [node.GET_SCHEMA() for node in asyncio.run(KizyExtension().get_node_list())]
print(json.dumps({schema.node_id: {
    "display_name": schema.display_name,
    "description": schema.description,
    "inputs": {one.id: one.about.get("tooltip") for one in schema.inputs},
    "outputs": {str(at): one.tooltip for at, one in enumerate(schema.outputs)},
} for schema in schemas}))
"""


@pytest.fixture
def schemas(run_python: Callable[..., Any]) -> dict[str, Any]:
    """Of each node: name, description, and the tooltips of its inputs and outputs."""
    finished = run_python(DESCRIBE, path=[FAKES])
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def translation(root: Path, language: str) -> dict[str, Any]:
    return json.loads((root / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def help_page(root: Path, node: str, language: str) -> Path:
    """Where ComfyUI's page looks for it: what has no page of its own language gets the first."""
    docs = root / "nodes" / "web" / "docs"
    return docs / f"{node}.md" if language == SOURCE else docs / node / f"{language}.md"


def named_in_tables(text: str) -> set[str]:
    """Names in the first cells of a page's tables, without the heads and what is in brackets."""
    names: set[str] = set()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        for row in table.splitlines()[2:]:
            cell = re.sub(r"[(（].*[)）]", "", row.split("|")[1])
            names |= {name.strip() for name in re.split("[,、]", cell)}
    return names


def test_every_input_and_output_has_a_tooltip(schemas: dict[str, Any]) -> None:
    for about in schemas.values():
        assert about["description"]
        for part in ("inputs", "outputs"):
            assert [name for name, tooltip in about[part].items() if not tooltip] == []


def test_the_first_language_says_what_the_nodes_say(root: Path, schemas: dict[str, Any]) -> None:
    texts = translation(root, SOURCE)
    assert set(texts) == set(schemas)
    for node, about in schemas.items():
        assert texts[node]["display_name"] == about["display_name"]
        assert texts[node]["description"] == about["description"]
        for part in ("inputs", "outputs"):
            told = {name: one.get("tooltip") for name, one in texts[node].get(part, {}).items()}
            assert told == about[part]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_is_whole(root: Path, language: str) -> None:
    source, texts = translation(root, SOURCE), translation(root, language)
    assert shape(texts) == shape(source)
    assert all(value.strip() for value in leaves(texts))
    main = [
        json.loads((root / "locales" / one / "main.json").read_text(encoding="utf-8"))
        for one in (SOURCE, language)
    ]
    assert shape(main[0]) == shape(main[1])


def test_there_are_no_other_languages_but_these(root: Path) -> None:
    assert {path.name for path in (root / "locales").iterdir()} == set(LANGUAGES)
    script = (root / "nodes" / "web" / "kizy.js").read_text(encoding="utf-8")
    block = script.partition("const WORDS = {")[2].partition("\n};")[0]
    assert set(re.findall(r"^  (\w+): \{$", block, re.MULTILINE)) == set(LANGUAGES)
    words = [set(re.findall(r"^    (\w+):", one, re.MULTILINE)) for one in block.split("\n  },")]
    assert words[0] and all(one == words[0] for one in words if one)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_has_a_help_page_that_names_its_inputs_and_outputs(
    root: Path, language: str
) -> None:
    for node, texts in translation(root, language).items():
        text = help_page(root, node, language).read_text(encoding="utf-8")
        assert text.startswith(f"# {texts['display_name']}\n")
        labels = {
            one["name"] for part in ("inputs", "outputs") for one in texts.get(part, {}).values()
        }
        assert named_in_tables(text) == labels, node


def test_every_page_belongs_to_a_node_and_a_language(root: Path) -> None:
    docs = root / "nodes" / "web" / "docs"
    nodes = translation(root, SOURCE)
    expected = {help_page(root, node, language) for node in nodes for language in LANGUAGES}
    assert {path for path in docs.rglob("*") if path.is_file()} == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_of_a_node_have_the_same_parts(root: Path, language: str) -> None:
    for node in translation(root, SOURCE):
        first, other = (
            [
                line[:2]
                for line in page.read_text(encoding="utf-8").splitlines()
                if line[:1] in MARKS
            ]
            for page in (help_page(root, node, one) for one in (SOURCE, language))
        )
        assert first == other, node


def shape(values: Any) -> Any:
    """A tree of texts without the texts."""
    return {k: shape(v) for k, v in values.items()} if isinstance(values, dict) else None


def leaves(values: Any) -> list[str]:
    if isinstance(values, dict):
        return [leaf for value in values.values() for leaf in leaves(value)]
    return [values]
