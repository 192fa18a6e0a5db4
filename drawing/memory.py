"""How much memory there is, what a drawing may use of it, and what to do when it runs out."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass

import torch

RESERVE = 0.8
"""Share of the free memory that weights may take; the rest is for what runs through them."""

_NO_MEMORY = (
    "out of memory",
    "not enough memory",  # PyTorch's allocator on Windows
    "can't allocate memory",
    "cannot allocate",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED and cuDNN's
)


@dataclass(frozen=True)
class Placement:
    """Where and how a model is loaded. `offload`: only what runs is kept on the GPU."""

    device: torch.device
    dtype: torch.dtype
    offload: bool


def best_device() -> torch.device:
    """The first CUDA GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_bytes(device: torch.device) -> int:
    """Memory that is free now on a device."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return int(free)
    import psutil

    return int(psutil.virtual_memory().available)


def place(weight_bytes_fp16: int, device: torch.device, free: int) -> Placement:
    """How to load a model whose weights take `weight_bytes_fp16` in half precision.

    On a CPU float32 is fastest where it fits, else bfloat16. On a GPU float16, and offload
    where the weights do not fit beside the work.
    """
    if device.type == "cpu":
        fits = 2 * weight_bytes_fp16 <= RESERVE * free
        return Placement(device, torch.float32 if fits else torch.bfloat16, offload=False)
    return Placement(device, torch.float16, offload=weight_bytes_fp16 > RESERVE * free)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the GPU or the CPU."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)


def release() -> None:
    """Give unused memory back to the system or the driver."""
    import ctypes
    import gc

    gc.collect()
    # glibc keeps what is freed for later; elsewhere there is no such call.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
