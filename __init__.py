"""Kizy: pictures from a sentence.

As a folder in ComfyUI's `custom_nodes/` this file hands ComfyUI the extension; as the package
`kizy` it holds the rooms. Nothing is imported before it is needed.
"""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./nodes/web"


async def comfy_entrypoint() -> Any:
    """ComfyUI's entry point (V3 schema): the extension with Kizy's nodes.

    Makes the starter and the enlarger known to ComfyUI's own nodes on the way.
    """
    from .nodes.extension import KizyExtension
    from .nodes.offers import offer_models, offer_routes

    offer_models()
    offer_routes()
    return KizyExtension()
