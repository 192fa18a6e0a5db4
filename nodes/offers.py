"""What Kizy offers to ComfyUI's own nodes: the starter, and the enlarger.

The checkpoint is listed as `kizy-starter.safetensors`, the enlarger as
`kizy-enlarger-x4.safetensors`: the files' own names.
"""

from __future__ import annotations

import logging

from ..core.home import loras_folder
from ..starter.checkpoint import ENLARGER_FILE, STARTER_FILE
from . import _host

log = logging.getLogger(__name__)


def offer_models() -> None:
    """Register them, once. What does not work is logged in one sentence; nothing is raised."""
    try:
        _offer()
    except Exception as error:
        log.warning(
            "Kizy's own model cannot be offered to this ComfyUI; all else works. (%s: %s)",
            type(error).__name__,
            error,
        )


def offer_routes() -> None:
    """Add the pack's HTTP routes. What does not work is logged; nothing is raised."""
    try:
        _add_routes()
    except Exception as error:
        log.warning(
            "Kizy's routes cannot be added to this ComfyUI: other machines will not see its LoRAs."
            " (%s: %s)",
            type(error).__name__,
            error,
        )


def _add_routes() -> None:
    table = _host.route_table()
    if table is None:
        return
    from .lora_shelf import shelf
    from .routes import Place, add_routes

    add_routes(
        table,
        Place(
            shelf=shelf(),
            listed=lambda: _host.models_listed("loras"),
            input=_host.input_folder,
            addresses=_host.addresses,
        ),
    )


def _offer() -> None:
    missing = [file.name for file in (STARTER_FILE, ENLARGER_FILE) if not file.is_file()]
    if missing:
        log.warning("Kizy's folder is not complete: %s is missing.", " and ".join(missing))
    _host.add_models_folder("upscale_models", ENLARGER_FILE.parent)
    # Only now: it derives from classes of ComfyUI's.
    from .starter_family import KizyStarter

    _host.add_model_family(KizyStarter)
    _host.add_models_folder("checkpoints", STARTER_FILE.parent)
    # What Kizy trained or got shows in ComfyUI's lists without a restart.
    _host.add_models_folder("loras", loras_folder())
