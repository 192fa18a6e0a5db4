"""The extension that ComfyUI loads. It has no nodes yet: they come with the ComfyUI engine."""

from __future__ import annotations

from ._host import ComfyExtension, io


class KizyExtension(ComfyExtension):
    """Lists Kizy's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []
