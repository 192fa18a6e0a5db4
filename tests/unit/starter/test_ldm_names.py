"""The starter's layers under their original names."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from kizy.starter.architecture import build_unet
from kizy.starter.ldm_names import diffusers_name, ldm_name


def test_every_layer_comes_back_from_its_original_name() -> None:
    layers = {name.rpartition(".")[0] for name in build_unet().state_dict()}
    assert {diffusers_name(ldm_name(layer)) for layer in layers} == layers
    assert len({ldm_name(layer) for layer in layers}) == len(layers)
