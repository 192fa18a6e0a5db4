"""Kizy Train LoRA: pictures and a name become a LoRA."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

from . import _host
from ._host import io
from .lora_shelf import listed_name
from .telling import in_plain_words

AUTO = "auto"
GOALS = [AUTO, "character", "style", "object"]
QUALITIES = ["draft", "balanced", "best"]
STARTER = "starter"


class KizyTrainLora(io.ComfyNode):
    """A thin face of the trainer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KizyTrainLora",
            display_name="Kizy Train LoRA",
            category="Kizy",
            description=(
                "Trains a LoRA from pictures, a name and a description. It runs in a process of "
                "its own; interrupting keeps what there is. Kizy LoRA by Intent picks it from "
                "then on where it fits."
            ),
            inputs=[
                io.String.Input(
                    "name", default="", tooltip="What the LoRA is called, such as Mimi the cat."
                ),
                io.String.Input(
                    "about",
                    multiline=True,
                    default="",
                    tooltip="What the pictures show: a character, an object, or how they look.",
                ),
                io.String.Input(
                    "files",
                    default="",
                    tooltip=(
                        "A folder, a zip or a video with the pictures: a path on ComfyUI's "
                        "machine, or what the button below uploaded. Or wire pictures in."
                    ),
                ),
                io.Combo.Input(
                    "base",
                    options=bases(),
                    default=AUTO,
                    tooltip="The model that it is trained for. auto: the best that fits here.",
                ),
                io.Combo.Input(
                    "goal",
                    options=GOALS,
                    default=AUTO,
                    tooltip="auto: inferred from the description.",
                ),
                io.Combo.Input(
                    "quality",
                    options=QUALITIES,
                    default="balanced",
                    tooltip="How long it trains: draft to see whether it works, best for keeps.",
                ),
                io.Image.Input("pictures", optional=True, tooltip="The pictures, as a batch."),
                *_host.advanced(
                    [
                        io.Int.Input(
                            "steps",
                            default=0,
                            min=0,
                            max=1_000_000,
                            optional=True,
                            tooltip="0: as Kizy decides.",
                        )
                    ]
                ),
            ],
            outputs=[
                io.String.Output(display_name="lora", tooltip="Its name in ComfyUI's lists."),
                io.Image.Output(display_name="loss_curve", tooltip="How the loss fell."),
                io.Image.Output(
                    display_name="samples", tooltip="What it drew while it learnt, step by step."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, files: str = "", **_inputs: Any) -> str:
        """Files that changed are trained on anew."""
        return _state(files or "")

    @classmethod
    @in_plain_words
    def execute(
        cls,
        name: str,
        about: str,
        files: str = "",
        base: str = AUTO,
        goal: str = AUTO,
        quality: str = "balanced",
        pictures: Any = None,
        steps: int = 0,
    ) -> io.NodeOutput:
        from ..core.errors import InputError
        from ..core.home import cache_folder
        from .training_process import TrainingProcess, error_of, interpreter, keep_pictures
        from .uploads import tidy_now_and_then, used

        if not name.strip():
            raise InputError(
                "request_invalid", "The LoRA has no name.", fix="Give it one in the field name."
            )
        places = _places(files)
        if pictures is None and not places:
            fix = "Wire pictures in, press the button, or give a folder's path in the field files."
            raise InputError("request_invalid", "There are no pictures to learn from.", fix=fix)
        used(places, _host.input_folder())
        tidy_now_and_then(_host.input_folder())
        python = interpreter()
        own = cache_folder() / "comfyui-pictures" / uuid.uuid4().hex
        node = str(cls.hidden.unique_id)
        result, run = "", Path()
        try:
            if pictures is not None:
                places.append(keep_pictures(pictures, own))
            _host.free_memory()
            request = {
                "files": [str(place) for place in places],
                "name": name,
                "about": about,
                "base": str(_host.model_path("checkpoints", base) or base),
                "goal": goal,
                "quality": quality,
                "steps": steps or AUTO,
            }
            bar = None
            for event in TrainingProcess(request, python).events(_host.raise_if_interrupted):
                kind = event.get("kind")
                if kind == "doing":
                    _host.show_text(node, str(event.get("text", "")))
                elif kind == "run":
                    run = Path(event["path"])
                    bar = _host.progress_bar(int(event["steps"]), node)
                elif kind == "step" and bar is not None:
                    bar(int(event["step"]))
                    _host.show_text(node, _progress_text(event))
                elif kind == "sample" and bar is not None:
                    bar(int(event["step"]), Path(event["path"]))
                elif kind == "notice":
                    _host.show_text(node, str(event.get("text", "")))
                elif kind == "end":
                    if event.get("state") == "failed":
                        raise error_of(event)
                    result = str(event.get("result") or "")
                    why = str(event.get("why") or "")
                    _host.show_text(node, f"Kept: {why}." if why and result else "Done.")
        finally:
            shutil.rmtree(own, ignore_errors=True)
        if not result:
            raise InputError("request_invalid", "It was stopped before there was a LoRA.")
        return io.NodeOutput(
            listed_name(Path(result), _host.models_listed("loras")),
            _picture(run / "loss.png"),
            _picture(run / "samples.png"),
            ui={"text": [f"{Path(result).stem} is ready: pick it by name, or let Kizy pick it."]},
        )


def bases() -> list[str]:
    """auto, the starter, and what is installed here and in ComfyUI's list of checkpoints."""
    listed = [name for name in _host.models_listed("checkpoints") if "kizy-starter" not in name]
    return list(dict.fromkeys([AUTO, STARTER, *_own_models(), *listed]))


def _own_models() -> list[str]:
    """Those in Kizy's own folder."""
    from ..core.errors import KizyError
    from ..core.home import models_folder

    folder = models_folder()
    # ComfyUI asks while it starts; what reads models is imported only where there are any.
    if not folder.is_dir() or not any(folder.iterdir()):
        return []
    from ..catalog.index.models import list_models

    try:
        return [entry.name for entry in list_models() if entry.name != STARTER]
    except (KizyError, OSError):
        return []


def _paths(files: str) -> list[Path]:
    """The paths in the field, one a line; what lies in ComfyUI's input folder by its name."""
    lines = filter(None, map(str.strip, (files or "").splitlines()))
    # An absolute path stays as it is.
    return [_host.input_folder() / line.strip('"') for line in lines]


def _places(files: str) -> list[Path]:
    """The paths, each of which is there. Raises UnknownNameError `file_missing`."""
    from ..core.errors import UnknownNameError
    from .uploads import FOLDER, KEPT

    found, uploads = _paths(files), _host.input_folder() / FOLDER
    for path in found:
        if not path.exists():
            days = f"What the button sent goes {KEPT / 86_400:.0f} days after its last use: "
            fix = days + "choose the pictures again." if uploads in path.parents else None
            raise UnknownNameError("file_missing", f"There is nothing at {path}.", fix=fix)
    return found


def _state(files: str) -> str:
    parts: list[str] = []
    for path in _paths(files):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            try:
                about = file.stat()
            except OSError:
                continue
            parts.append(f"{file} {about.st_size} {about.st_mtime_ns}")
    return "\n".join(parts)


def _progress_text(event: dict[str, Any]) -> str:
    left = event.get("left")
    minutes = f", {left / 60:.0f} min left" if isinstance(left, int | float) else ""
    return f"step {event['step']} of {event['steps']}, loss {event['smoothed']:.4f}{minutes}"


def _picture(path: Path) -> Any:
    """A picture file as ComfyUI's IMAGE; a grey pixel where there is none."""
    import torch

    from ..core.errors import KizyError
    from ..core.picture_files import open_picture
    from .tensors import as_tensor

    try:
        return as_tensor(open_picture(path).convert("RGB"))[None]
    except KizyError:
        return torch.full((1, 8, 8, 3), 0.5)
