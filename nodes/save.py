"""Kizy Save: a picture file with its Plan and the parameters that other programs read."""

from __future__ import annotations

import json
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING, Any

from . import _host
from ._host import io
from .telling import in_plain_words

if TYPE_CHECKING:
    from ..core.plan import Plan

PREFIX = "Kizy/picture"


class KizySave(io.ComfyNode):
    """As ComfyUI's Save Image, with what Kizy, A1111 and Civitai read besides."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KizySave",
            display_name="Kizy Save",
            category="Kizy",
            description=(
                "Saves pictures as PNG with everything that drew them inside: the workflow, "
                "Kizy's Plan (kizy show, kizy replay), and the parameters that A1111 and "
                "Civitai read."
            ),
            inputs=[
                io.Image.Input("images", tooltip="The pictures."),
                io.String.Input(
                    "filename_prefix",
                    default=PREFIX,
                    tooltip="Folder and beginning of the name, below ComfyUI's output folder.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    @in_plain_words
    def execute(cls, images: Any, filename_prefix: str = PREFIX) -> io.NodeOutput:
        import numpy as np
        from PIL import Image

        from ..core.files import write_new

        height, width = int(images.shape[1]), int(images.shape[2])
        folder, name, counter, below = _host.output_place(filename_prefix, width, height)
        hidden = cls.hidden
        plan = None
        if not _host.metadata_is_off():
            plan = _plan(hidden.prompt or {}, str(hidden.unique_id), width, height)
        saved: list[dict[str, str]] = []
        for number, image in enumerate(images):
            array = np.clip(image.cpu().numpy() * 255.0, 0, 255).astype(np.uint8)
            texts = {}
            if not _host.metadata_is_off():
                texts = {"prompt": json.dumps(hidden.prompt)} if hidden.prompt else {}
                for key, value in (hidden.extra_pnginfo or {}).items():
                    texts[key] = json.dumps(value)
            stem = name.replace("%batch_num%", str(number))
            names = (f"{stem}_{at:05}_.png" for at in count(counter + number))
            path = write_new(folder, names, _png(Image.fromarray(array), texts, plan))
            saved.append({"filename": path.name, "subfolder": below, "type": "output"})
        return io.NodeOutput(ui={"images": saved})


def _png(picture: Any, texts: dict[str, str], plan: Plan | None) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    from ..core.picture_files import png_with_plan
    from ..core.version import VERSION

    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    buffer = BytesIO()
    picture.save(buffer, "PNG", pnginfo=info, compress_level=4)
    data = buffer.getvalue()
    return data if plan is None else png_with_plan(data, plan, VERSION)


def _plan(graph: dict[str, Any], node: str, width: int, height: int) -> Plan | None:
    """The Plan; None where the graph does not tell enough. A picture is never lost over it."""
    from pydantic import ValidationError

    from .graph_facts import plan_of

    try:
        return plan_of(graph, node, width, height, _host.models_listed("loras"))
    except (ValidationError, ValueError, TypeError, KeyError):
        return None
