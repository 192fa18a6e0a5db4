"""`comfy_api.latest.io`."""

from __future__ import annotations


class ComfyNode:
    """Base of all nodes of the V3 schema."""
