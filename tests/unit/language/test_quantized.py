"""Weights in 8 bits: how large the error can be, and what stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from kizy.language.quantized import (  # noqa: E402
    BLOCK,
    SCALE_SUFFIX,
    dequantize,
    load_quantized,
    quantize,
)
from safetensors.torch import save_file  # noqa: E402


def weights(*shape: int, size: float = 1.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * size


@pytest.mark.parametrize("shape", [(128, 128), (64, 64, 3, 3), (100, 100), (50, 90), (4096, 1)])
@pytest.mark.parametrize("size", [0.01, 1.0, 300.0])
def test_no_weight_is_off_by_more_than_half_a_level(shape: tuple[int, ...], size: float) -> None:
    original = weights(*shape, size=size)
    back = dequantize(quantize({"w": original}))["w"]
    rows = original.flatten(1)
    width = BLOCK if rows.shape[1] % BLOCK == 0 else rows.shape[1]
    largest = rows.reshape(rows.shape[0], -1, width).abs().amax(2, keepdim=True)
    error = (back - original).reshape(rows.shape[0], -1, width).abs()
    # Half a level, and what float16 takes from the scale at 127 levels.
    bound = largest / 127 * 0.5 + largest * 2**-11 + 127 * 3e-8 + (largest / 127 < 6.2e-5) * 3.1e-5
    assert (error <= bound).all()


def test_shapes_and_names_come_back() -> None:
    tensors = {"a.weight": weights(64, 64, 3, 3), "a.bias": weights(64), "b": weights(8, 8)}
    back = dequantize(quantize(tensors))
    assert {k: v.shape for k, v in back.items()} == {k: v.shape for k, v in tensors.items()}
    assert all(value.dtype == torch.float32 for value in back.values())


def test_large_matrices_take_one_byte_a_weight() -> None:
    packed = quantize({"w": weights(64, 128)})
    assert packed["w"].dtype == torch.int8
    assert packed["w" + SCALE_SUFFIX].shape == (64, 128 // BLOCK)


def test_small_tensors_and_vectors_stay_float16() -> None:
    packed = quantize({"small": weights(8, 8), "vector": weights(9000)})
    assert {name: value.dtype for name, value in packed.items()} == {
        "small": torch.float16,
        "vector": torch.float16,
    }


def test_integers_stay_as_they_are() -> None:
    ids = torch.arange(10_000).reshape(100, 100)
    assert torch.equal(dequantize(quantize({"ids": ids}))["ids"], ids)


def test_zeros_stay_zero() -> None:
    assert not dequantize(quantize({"w": torch.zeros(128, 128)}))["w"].any()


def test_quantizing_twice_loses_nothing_more() -> None:
    once = dequantize(quantize({"w": weights(128, 128)}))
    assert torch.allclose(dequantize(quantize(once))["w"], once["w"], rtol=2e-3, atol=1e-4)


def test_a_file_is_read_as_it_was_packed(tmp_path: Path) -> None:
    packed = quantize({"w": weights(64, 64), "b": weights(3)})
    save_file(packed, tmp_path / "w.safetensors")
    back = load_quantized(tmp_path / "w.safetensors")
    assert all(torch.equal(back[name], value) for name, value in dequantize(packed).items())
