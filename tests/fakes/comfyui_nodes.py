"""What the fake's nodes do: small pictures instead of models. And the check of a graph.

The check follows execution.validate_prompt of ComfyUI 0.3.64, over a recorded /object_info.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

Graph = dict[str, dict[str, Any]]
UPLOADED = ("LoadImage", "LoadImageMask", "LoadImageOutput")


@dataclass(frozen=True)
class Thing:
    """What a node puts out: a model, a latent, a picture. `digest`: of all that went into it.

    A picture is of one `color`, or the `picture` that somebody sent.
    """

    digest: str
    size: tuple[int, int] = (64, 64)
    count: int = 1
    color: tuple[int, int, int] | None = None
    picture: Image.Image | None = None
    text: str = ""

    def drawn(self) -> Image.Image:
        """The picture; of a latent a colour that its digest says."""
        if self.picture is not None:
            return self.picture.resize(self.size)
        red, green, blue = self.color or bytes.fromhex(self.digest[:6])
        return Image.new("RGB", self.size, (red, green, blue))


@dataclass(frozen=True)
class Disk:
    """The server's folders; they outlive a restart."""

    base: Path

    def folder(self, place: str) -> Path:
        path = self.base / place
        path.mkdir(parents=True, exist_ok=True)
        return path

    def file(self, place: str, subfolder: str, name: str) -> Path | None:
        """A path inside the place's folder; None for one that would leave it."""
        root = self.folder(place).resolve()
        path = (root / subfolder / name).resolve()
        return path if path.is_relative_to(root) and path != root else None

    def annotated(self, name: str) -> Path | None:
        """As LoadImage names files: "kizy/x.png", "x.png [output]"."""
        found = re.fullmatch(r"(.*?)(?: \[(input|output|temp)\])?", name, re.DOTALL)
        assert found is not None
        return self.file(found[2] or "input", "", found[1])


def is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def digest_of(graph: Graph, node: str, disk: Disk) -> str:
    """Says when a node need not run again: class, values, and those of all nodes before it."""
    inputs: dict[str, Any] = {}
    for name, value in graph[node]["inputs"].items():
        if is_link(value):
            inputs[name] = [digest_of(graph, value[0], disk), value[1]]
        else:
            inputs[name] = value
    name = graph[node]["class_type"]
    if name in UPLOADED and (file := disk.annotated(str(inputs.get("image")))) is not None:
        content = file.read_bytes() if file.is_file() else b""
        inputs["content"] = hashlib.sha256(content).hexdigest()
    text = json.dumps([name, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def run_node(name: str, inputs: Mapping[str, Any], thing: Thing, disk: Disk) -> Thing:
    """What comes out. `inputs`: values, or the Things that links bring. `thing`: only a digest."""
    before = [value for value in inputs.values() if isinstance(value, Thing)]
    latents = "Sampler" in name or "Encode" in name
    shown = next((t for t in before if t.picture or t.color), None)
    sized = shown or next((t for t in before if t.size != thing.size or t.count > 1), None)
    if sized is not None:
        thing = replace(thing, size=sized.size, count=sized.count)
    if shown is not None and not latents:
        thing = replace(thing, picture=shown.picture, color=shown.color)
    thing = replace(thing, size=_new_size(name, inputs, thing.size))
    strings = [value for value in inputs.values() if isinstance(value, str)]
    strings += [value.text for value in before if value.text]
    match name:
        case "EmptyImage":
            red, green, blue = inputs["color"].to_bytes(3, "big")
            return replace(thing, color=(red, green, blue), count=inputs["batch_size"])
        case "LoadImage" | "LoadImageMask" | "LoadImageOutput":
            file = disk.annotated(inputs["image"])
            assert file is not None
            with Image.open(file) as opened:
                loaded = ImageOps.exif_transpose(opened).convert("RGB")
            return replace(thing, picture=loaded, size=loaded.size)
        case "ImageInvert" if thing.picture is not None:
            return replace(thing, picture=ImageOps.invert(thing.picture))
        case "ImageInvert" if thing.color is not None:
            red, green, blue = (255 - value for value in thing.color)
            return replace(thing, color=(red, green, blue))
    count = inputs.get("batch_size", thing.count)
    return replace(thing, count=count, text=strings[0] if strings else "")


def _new_size(name: str, inputs: Mapping[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    width, height, factor = (inputs.get(key) for key in ("width", "height", "scale_by"))
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    if name == "ImageUpscaleWithModel":
        factor = 4
    if isinstance(factor, int | float):
        return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))
    return size


def show_node(name: str, inputs: Mapping[str, Any], graph: Graph, disk: Disk) -> dict[str, Any]:
    """What an output node shows: the `ui` of its history entry."""
    things = [value for value in inputs.values() if isinstance(value, Thing)]
    if name in ("SaveImage", "PreviewImage"):
        place = "output" if name == "SaveImage" else "temp"
        prefix = inputs.get("filename_prefix", "ComfyUI_temp_fake")
        return {"images": _saved(things[0], place, prefix, graph, disk)}
    if name == "PreviewAny":
        source = inputs["source"]
        return {"text": [source.text if isinstance(source, Thing) else str(source)]}
    return {}


def _saved(thing: Thing, place: str, prefix: str, graph: Graph, disk: Disk) -> list[dict[str, Any]]:
    subfolder, _, name = prefix.rpartition("/")
    folder = disk.folder(place) / subfolder
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(p.stem.split("_")[-2]) for p in folder.glob(f"{name}_?????_.png")]
    first = max(numbers, default=0) + 1
    about = PngInfo()
    about.add_text("prompt", json.dumps(graph))
    results = []
    for number in range(first, first + thing.count):
        file = f"{name}_{number:05}_.png"
        thing.drawn().save(folder / file, pnginfo=about, compress_level=1)
        results.append({"filename": file, "subfolder": subfolder, "type": place})
    return results


# The check of a graph

Choices = Callable[[str, str], list[str] | None]


class Checker:
    """Checks graphs as ComfyUI does before it queues them."""

    def __init__(self, object_info: Mapping[str, Any], choices: Choices, disk: Disk) -> None:
        self._info = object_info
        self._choices = choices
        self._disk = disk

    def check(
        self, graph: Graph, targets: list[str] | None = None
    ) -> tuple[dict[str, Any] | None, list[str], dict[str, Any]]:
        """(error or None, the outputs that are all right, node_errors)."""
        outputs = []
        for node, entry in graph.items():
            if "class_type" not in entry:
                text = "Cannot execute because a node is missing the class_type property."
                return _error("invalid_prompt", text, f"Node ID '#{node}'"), [], {}
            name = entry["class_type"]
            if name not in self._info:
                text = f"Cannot execute because node {name} does not exist."
                return _error("invalid_prompt", text, f"Node ID '#{node}'"), [], {}
            if self._info[name].get("output_node") and (targets is None or node in targets):
                outputs.append(node)
        if not outputs:
            return _error("prompt_no_outputs", "Prompt has no outputs", ""), [], {}
        return self._check_outputs(graph, outputs)

    def _check_outputs(
        self, graph: Graph, outputs: list[str]
    ) -> tuple[dict[str, Any] | None, list[str], dict[str, Any]]:
        good: list[str] = []
        node_errors: dict[str, Any] = {}
        seen: dict[str, tuple[bool, list[dict[str, Any]]]] = {}
        details: list[str] = []
        for output in outputs:
            valid, reasons = self._check_node(graph, output, seen)
            if valid:
                good.append(output)
                continue
            details += [f"{reason['message']}: {reason['details']}" for reason in reasons]
            for node, (node_valid, node_reasons) in seen.items():
                if not node_valid and node_reasons:
                    entry = node_errors.setdefault(
                        node,
                        {
                            "errors": node_reasons,
                            "dependent_outputs": [],
                            "class_type": graph[node]["class_type"],
                        },
                    )
                    entry["dependent_outputs"].append(output)
        if good:
            return None, good, node_errors
        text = "Prompt outputs failed validation"
        error = _error("prompt_outputs_failed_validation", text, "\n".join(details))
        return error, [], node_errors

    def _check_node(
        self, graph: Graph, node: str, seen: dict[str, tuple[bool, list[dict[str, Any]]]]
    ) -> tuple[bool, list[dict[str, Any]]]:
        if node in seen:
            return seen[node]
        name, inputs = graph[node]["class_type"], graph[node]["inputs"]
        declared = self._info[name]["input"]
        errors: list[dict[str, Any]] = []
        valid = True
        for part in ("required", "optional"):
            for key, spec in (declared.get(part) or {}).items():
                if key not in inputs:
                    if part == "required":
                        text = "Required input is missing"
                        errors.append(_input_error("required_input_missing", text, key, key))
                    continue
                if isinstance(inputs[key], list):
                    valid &= self._check_link(graph, inputs[key], key, spec, errors, seen)
                else:
                    self._check_value(name, key, spec, inputs, errors)
        seen[node] = (valid and not errors, errors)
        return seen[node]

    def _check_link(
        self,
        graph: Graph,
        link: list[Any],
        key: str,
        spec: list[Any],
        errors: list[dict[str, Any]],
        seen: dict[str, tuple[bool, list[dict[str, Any]]]],
    ) -> bool:
        if len(link) != 2:
            text = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            errors.append(_input_error("bad_linked_input", text, key, key))
            return True
        wanted = spec[0]
        given = self._info[graph[link[0]]["class_type"]]["output"][link[1]]
        if not _fits(given, wanted):
            text = "Return type mismatch between linked nodes"
            details = f"{key}, received_type({given}) mismatch input_type({wanted})"
            errors.append(_input_error("return_type_mismatch", text, details, key))
            return True
        return self._check_node(graph, link[0], seen)[0]

    def _check_value(
        self,
        name: str,
        key: str,
        spec: list[Any],
        inputs: dict[str, Any],
        errors: list[dict[str, Any]],
    ) -> None:
        value, kind = inputs[key], spec[0]
        options = spec[1] if len(spec) > 1 else {}
        about = {"input_config": spec, "received_value": value}
        types = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
        if isinstance(kind, str) and kind in types:
            try:
                value = inputs[key] = types[kind](value)
            except (ValueError, TypeError) as error:
                text = f"Failed to convert an input value to a {kind} value"
                details = f"{key}, {value}, {error}"
                errors.append(_input_error("invalid_input_type", text, details, key, **about))
                return
        if name in UPLOADED and key == "image":
            file = self._disk.annotated(value)
            if file is None or not file.is_file():
                text = "Custom validation failed for node"
                details = f"{key} - Invalid image file: {value}"
                errors.append(_input_error("custom_validation_failed", text, details, key))
            return
        if "min" in options and value < options["min"]:
            text = f"Value {value} smaller than min of {options['min']}"
            errors.append(_input_error("value_smaller_than_min", text, key, key, **about))
        elif "max" in options and value > options["max"]:
            text = f"Value {value} bigger than max of {options['max']}"
            errors.append(_input_error("value_bigger_than_max", text, key, key, **about))
        elif isinstance(kind, list):
            given = self._choices(name, key)
            self._check_choice(key, value, kind if given is None else given, about, errors)

    def _check_choice(
        self,
        key: str,
        value: object,
        choices: list[Any],
        about: dict[str, Any],
        errors: list[dict[str, Any]],
    ) -> None:
        if value in choices:
            return
        shown, config = str(choices), [choices, *about["input_config"][1:]]
        if len(choices) > 20:
            shown, config = f"(list of length {len(choices)})", None
        about = {**about, "input_config": config}
        details = f"{key}: '{value}' not in {shown}"
        errors.append(_input_error("value_not_in_list", "Value not in list", details, key, **about))


def _fits(given: Any, wanted: Any) -> bool:
    if isinstance(given, list) or isinstance(wanted, list):
        return given == wanted or "*" in (given, wanted)
    if "*" in (given, wanted):
        return True
    return bool(set(str(given).split(",")) & set(str(wanted).split(",")))


def _error(kind: str, message: str, details: str) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


def _input_error(
    kind: str, message: str, details: str, input_name: str, **about: Any
) -> dict[str, Any]:
    extra = {"input_name": input_name, **about}
    return {"type": kind, "message": message, "details": details, "extra_info": extra}
