"""The names of `comfy_api.latest` that `nodes/_host.py` imports, with the real signatures."""

from __future__ import annotations

from abc import ABC, abstractmethod

from . import _io as io

__all__ = ["ComfyExtension", "io"]


class ComfyExtension(ABC):
    """As in ComfyUI 0.3.64: an extension lists its nodes; `on_load` runs once before."""

    async def on_load(self) -> None:  # noqa: B027
        """Nothing, unless the extension says otherwise."""

    @abstractmethod
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The extension's node classes."""
