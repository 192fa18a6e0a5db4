"""A real ComfyUI for the contract suite, where KIZY_TEST_COMFYUI names its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Read now: no test sees variables that begin with KIZY_.
AVAILABLE = bool(os.environ.get("KIZY_TEST_COMFYUI"))


@contextmanager
def real_comfyui(base: Path) -> Iterator[str]:
    """Its address, while it runs in the base directory `base`, without Kizy's pack."""
    from tests.integration.conftest import start_comfyui

    for name in ("input", "output", "models/checkpoints", "custom_nodes"):
        (base / name).mkdir(parents=True, exist_ok=True)
    with start_comfyui(base) as running:
        yield running.url
