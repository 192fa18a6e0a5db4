"""The only file that imports ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

__all__ = ["ComfyExtension", "io"]
