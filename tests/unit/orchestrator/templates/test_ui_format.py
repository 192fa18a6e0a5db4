"""The bundled workflows, against the recorded /object_info: what the page would complain about."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kizy.catalog.families.family import SourceFile
from kizy.orchestrator.backends.comfyui.workflows.graph import Graph
from kizy.orchestrator.backends.comfyui.workflows.node_types import MODEL_FOLDERS, NODE_TYPES
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts
from kizy.orchestrator.backends.comfyui.workflows.validate import problems
from kizy.tools.workflows.bundled import bundled_workflows
from kizy.tools.workflows.layout import FRAME_TITLE, PADDING, TITLE, Box, arrange
from kizy.tools.workflows.ui_format import Note, ui_workflow, widget_values
from kizy.tools.workflows.write_bundled import WORKFLOWS_FOLDER, files
from PIL import Image

BUNDLED = {work.name: work for work in bundled_workflows()}
PAGES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(WORKFLOWS_FOLDER.glob("*.json"))
}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}

each_page = pytest.mark.parametrize("name", PAGES)


def nodes_of(name: str) -> list[dict[str, Any]]:
    """Without the notes."""
    return [node for node in PAGES[name]["nodes"] if node["type"] != "MarkdownNote"]


def inputs_of(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """(name, kind, options) of a recorded node's inputs; lists count as COMBO."""
    for part in ("required", "optional"):
        for name, spec in entry["input"].get(part, {}).items():
            options = spec[1] if len(spec) > 1 else {}
            if isinstance(spec[0], list):
                yield name, "COMBO", {"options": spec[0], **options}
            else:
                yield name, spec[0], options


def page_widgets(entry: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """The widgets that the page makes of a recorded node."""
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    for name, kind, options in inputs_of(entry):
        if kind not in WIDGETS:
            continue
        found.append((name, kind, options))
        if options.get("control_after_generate"):
            choices = ["fixed", "increment", "decrement", "randomize"]
            found.append(("control_after_generate", "COMBO", {"options": choices}))
        if options.get("image_upload"):
            found.append(("upload", "COMBO", {"options": ["image"]}))
    return found


def fits(value: Any, kind: str, options: Mapping[str, Any]) -> bool:
    if kind == "COMBO":
        return value in options["options"]
    if kind in ("STRING", "BOOLEAN"):
        return isinstance(value, str if kind == "STRING" else bool)
    if isinstance(value, bool) or not isinstance(value, int if kind == "INT" else (int, float)):
        return False
    return options.get("min", value) <= value <= options.get("max", value)


def boxes(page: Mapping[str, Any]) -> list[tuple[str, float, float, float, float]]:
    """(title, left, top, right, bottom) of each node with its title bar."""
    return [
        (
            node["title"],
            node["pos"][0],
            node["pos"][1] - TITLE,
            node["pos"][0] + node["size"][0],
            node["pos"][1] + node["size"][1],
        )
        for node in page["nodes"]
    ]


def overlap(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return one[1] < other[3] and other[1] < one[3] and one[2] < other[4] and other[2] < one[4]


def test_the_files_are_what_the_script_writes() -> None:
    wanted = files()
    assert set(wanted) == set(WORKFLOWS_FOLDER.glob("*.json"))
    stale = [path.name for path, text in wanted.items() if path.read_text("utf-8") != text]
    assert stale == [], "run python -m kizy.tools.workflows.write_bundled"


def test_the_ten_are_there_with_a_thumbnail_each() -> None:
    assert {path.stem for path in WORKFLOWS_FOLDER.glob("*.jpg")} == set(PAGES)
    assert sorted(PAGES) == [
        "Choose my LoRAs",
        "ControlNet with SDXL",
        "Enlarge",
        "First picture",
        "Fix faces",
        "Image to image",
        "Inpaint",
        "Text to image with FLUX.1-schnell",
        "Text to image with SDXL",
        "Train a LoRA from photos",
    ]


@each_page
def test_a_thumbnail_shows_the_workflow_as_it_is(name: str) -> None:
    file = WORKFLOWS_FOLDER / f"{name}.jpg"
    text = (WORKFLOWS_FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert file.stat().st_size <= 60_000
    with Image.open(file) as picture:
        assert picture.format == "JPEG"
        assert picture.width * 2 == picture.height * 3
        shown = picture.info["comment"].decode()
    assert shown == hashlib.sha256(text.encode()).hexdigest(), (
        "run tests/integration/workflow_thumbnails.py"
    )


@each_page
def test_a_server_with_the_files_takes_the_graph(name: str, recorded: dict[str, Any]) -> None:
    work = BUNDLED[name]
    assert problems(work.graph.to_api(), with_files(recorded, work.files)) == []


def with_files(recorded: dict[str, Any], present: Any) -> ServerFacts:
    info = copy.deepcopy(recorded)
    for (node_class, name), folder in MODEL_FOLDERS.items():
        spec = info[node_class]["input"]["required"][name]
        listed = spec[0] if isinstance(spec[0], list) else spec[1]["options"]
        listed += [file.name for file in present if file.folder == folder]
    return ServerFacts("http://127.0.0.1:8188", "0.3.64", info)


@each_page
def test_widgets_stand_in_the_pages_order_and_fit(name: str, recorded: dict[str, Any]) -> None:
    info = with_files(recorded, BUNDLED[name].files).object_info
    for node in nodes_of(name):
        widgets = page_widgets(info[node["type"]])
        for (widget, kind, options), value in zip(widgets, node["widgets_values"], strict=True):
            assert fits(value, kind, options), f"{node['title']}: {widget} is {value!r}"


@pytest.mark.parametrize("node_class", NODE_TYPES)
def test_the_page_shows_no_other_widgets_than_those_that_are_written(
    node_class: str, recorded: dict[str, Any]
) -> None:
    values = {name: None for name, kind in NODE_TYPES[node_class].inputs.items()}
    written = list(widget_values({"class_type": node_class, "inputs": values}))
    assert written == [name for name, _, _ in page_widgets(recorded[node_class])]


@each_page
def test_links_join_what_is_there_and_their_kinds_match(
    name: str, recorded: dict[str, Any]
) -> None:
    page = PAGES[name]
    nodes = {node["id"]: node for node in page["nodes"]}
    assert len(nodes) == len(page["nodes"])
    assert page["last_node_id"] == max(nodes)
    assert [link[0] for link in page["links"]] == list(range(1, page["last_link_id"] + 1))
    for number, source, output, target, slot, kind in page["links"]:
        given, taken = nodes[source]["outputs"][output], nodes[target]["inputs"][slot]
        assert number in given["links"]
        assert taken["link"] == number
        kinds = {name: kind for name, kind, _ in inputs_of(recorded[nodes[target]["type"]])}
        assert recorded[nodes[source]["type"]]["output"][output] == kind == kinds[taken["name"]]
        assert given["type"] == taken["type"] == kind
    joined = {(link[3], link[4]) for link in page["links"]}
    for node in nodes_of(name):
        entry = recorded[node["type"]]
        assert [output["name"] for output in node["outputs"]] == entry["output_name"]
        for slot, one in enumerate(node["inputs"]):
            needed = one["name"] in entry["input"]["required"] and "widget" not in one
            assert (node["id"], slot) in joined or not needed
            assert (one["link"] is not None) == ((node["id"], slot) in joined)


@each_page
def test_no_node_lies_on_another(name: str) -> None:
    for one, other in itertools.combinations(boxes(PAGES[name]), 2):
        assert not overlap(one, other), (one, other)


@each_page
def test_frames_hold_their_nodes_and_nothing_else(name: str) -> None:
    page = PAGES[name]
    frames = [
        (g["title"], x, y, x + w, y + h) for g in page["groups"] for x, y, w, h in [g["bounding"]]
    ]
    for one, other in itertools.combinations(frames, 2):
        assert not overlap(one, other), (one, other)
    groups = {node.title: node.group for node in BUNDLED[name].graph.nodes}
    for box in boxes(page):
        around = [frame for frame in frames if overlap(box, frame)]
        assert [frame[0] for frame in around] == [g for g in [groups.get(box[0])] if g]
        for _, left, top, right, bottom in around:
            assert left + PADDING <= box[1]
            assert box[3] + PADDING <= right
            assert top + FRAME_TITLE <= box[2]
            assert box[4] + PADDING <= bottom


@each_page
def test_every_link_runs_to_the_right(name: str) -> None:
    page = PAGES[name]
    nodes = {node["id"]: node for node in page["nodes"]}
    for _, source, _, target, _, _ in page["links"]:
        right = nodes[source]["pos"][0] + nodes[source]["size"][0]
        assert right < nodes[target]["pos"][0]


@each_page
def test_it_is_explained(name: str) -> None:
    page = PAGES[name]
    titles = [node["title"] for node in page["nodes"]]
    assert len(set(titles)) == len(titles)
    notes = [node for node in page["nodes"] if node["type"] == "MarkdownNote"]
    assert all(len(note["widgets_values"][0]) > 100 for note in notes)
    assert len(notes) >= 1
    steps = [group["title"].split(".")[0] for group in page["groups"]]
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert len({group["color"] for group in page["groups"][:5]}) == min(5, len(steps))


@each_page
def test_files_to_download_stand_at_their_loader_and_in_the_note(name: str) -> None:
    said = "".join(n["widgets_values"][0] for n in PAGES[name]["nodes"] if not n["inputs"])
    for node in nodes_of(name):
        models = node["properties"].get("models", [])
        loads = [key for key in MODEL_FOLDERS if key[0] == node["type"]]
        brought = any(str(value).startswith("kizy-") for value in node["widgets_values"])
        assert len(models) == (0 if brought else len(loads))
        for model in models:
            assert model["name"] in node["widgets_values"]
            assert model["directory"] == MODEL_FOLDERS[loads[0]]
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith("/" + model["name"])
            assert model["url"] in said


def test_what_needs_no_download_says_so() -> None:
    for name, work in BUNDLED.items():
        note = work.notes[0].text
        assert ("without any download" in note) == (not work.files), name


def loaded(graph: Graph) -> Any:
    return graph.add("CheckpointLoaderSimple", "Load", ckpt_name="a.safetensors")


def test_a_hosted_file_is_told_to_the_loader_that_names_it() -> None:
    graph = Graph()
    loaded(graph)
    hosted = SourceFile(folder="checkpoints", name="a.safetensors", repo="me/a", path="b/a.sft")
    others = [
        hosted.model_copy(update={"name": "other.safetensors"}),
        hosted.model_copy(update={"folder": "vae"}),
    ]
    page = ui_workflow("mine", graph.to_api(), files=[*others, hosted])
    assert page["nodes"][0]["properties"]["models"] == [
        {
            "name": "a.safetensors",
            "url": "https://huggingface.co/me/a/resolve/main/b/a.sft",
            "directory": "checkpoints",
        }
    ]


def test_prompts_are_coloured_by_what_takes_them() -> None:
    graph = Graph()
    clip = loaded(graph)[1]
    said, unsaid, unused = (
        graph.add("CLIPTextEncode", title, text="", clip=clip) for title in ("a", "b", "c")
    )
    model, latent = (
        loaded(graph)[0],
        graph.add("EmptyLatentImage", "Size", width=64, height=64, batch_size=1),
    )
    graph.add(
        "KSampler",
        "Draw",
        model=model,
        seed=0,
        steps=1,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=said[0],
        negative=unsaid[0],
        latent_image=latent[0],
        denoise=1.0,
    )
    page = ui_workflow("mine", graph.to_api())
    colours = {node["title"]: node.get("color") for node in page["nodes"]}
    assert (colours["a"], colours["b"], colours[unused.title]) == ("#232", "#322", None)


def test_a_longer_note_is_taller() -> None:
    short, long = (
        ui_workflow("mine", {}, notes=[Note("Note", "Some words. " * count)])["nodes"][0]["size"]
        for count in (5, 100)
    )
    assert short[0] == long[0]
    assert short[1] < long[1]


def test_a_workflow_keeps_its_id() -> None:
    first, second, other = (ui_workflow(name, {})["id"] for name in ("a", "a", "b"))
    assert first == second != other


def test_a_group_stands_to_the_right_of_its_sources_as_high_up_as_there_is_room() -> None:
    layout = arrange(
        [
            Box(1, "Model", 100, 400),
            Box(2, "Picture", 300, 50),
            Box(3, "Prompt", 100, 50, frozenset({1})),
            Box(4, "Draw", 100, 50, frozenset({2, 3})),
        ]
    )
    model, picture, prompt, draw = layout.frames
    assert prompt.x > model.x + model.width
    # Above the picture, which reaches farther to the right than the model.
    assert prompt.y == 0
    assert prompt.x < picture.x + picture.width
    assert picture.y > model.y + model.height
    assert draw.x > max(picture.x + picture.width, prompt.x + prompt.width)
    assert draw.y == 0


def test_groups_that_wait_for_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="wait for each other: A, B"):
        arrange(
            [
                Box(1, "A", 10, 10),
                Box(2, "B", 10, 10, frozenset({1})),
                Box(3, "A", 10, 10, frozenset({2})),
            ]
        )
