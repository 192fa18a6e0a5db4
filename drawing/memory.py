"""On what is drawn, how much memory it has, and what a drawing may use of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch

RESERVE = 0.8
"""Share of the free memory that weights may take; the rest is for what runs through them."""

OWN_MEMORY = ("cuda", "xpu")
"""Devices with memory beside the computer's. Apple's GPU shares it: there, moving weights away
from the GPU frees nothing."""


@dataclass(frozen=True)
class Placement:
    """Where and how a model is loaded. `offload`: only what runs is kept on the GPU."""

    device: torch.device
    dtype: torch.dtype
    offload: bool


def best_device() -> torch.device:
    """The first GPU that torch can use: NVIDIA's or AMD's ("cuda", as torch names both), Intel's
    ("xpu"), Apple's ("mps"); else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    # Builds of torch differ in which of these they have at all.
    xpu, mps = getattr(torch, "xpu", None), getattr(torch.backends, "mps", None)
    if xpu is not None and xpu.is_available():
        return torch.device("xpu")
    if mps is not None and mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def training_device() -> torch.device:
    """What the built-in trainer computes on: a GPU that torch calls "cuda", else the CPU.

    A training has to go on bit for bit where it stopped, which was tried on no other.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """What people call a device: "NVIDIA GeForce RTX 4090", "Apple GPU", "cpu"."""
    match device.type:
        case "cuda":
            return torch.cuda.get_device_name(device)
        case "xpu":
            return torch.xpu.get_device_name(device)
        case "mps":
            return "Apple GPU"
    return "cpu"


def toolkit() -> str:
    """What torch drives GPUs with: "CUDA 12.8", "ROCm 6.4"; "" for what needs no name."""
    if getattr(torch.version, "hip", None):
        return f"ROCm {torch.version.hip}"
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else ""


def free_bytes(device: torch.device) -> int:
    """Memory that is free now on a device."""
    match device.type:
        case "cuda":
            free, _total = torch.cuda.mem_get_info(device)
            return int(free)
        case "xpu":
            return _free_on_xpu(device)
        case "mps":
            # Metal's limit for this process, of the memory that everything shares.
            limit = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
            return max(0, min(int(limit), _free_in_computer()))
    return _free_in_computer()


def place(weight_bytes_fp16: int, device: torch.device, free: int) -> Placement:
    """How to load a model whose weights take `weight_bytes_fp16` in half precision.

    On a CPU float32 is fastest where it fits, else bfloat16. On a GPU float16, and offload
    where the weights do not fit beside the work and the GPU has memory of its own.
    """
    if device.type == "cpu":
        fits = 2 * weight_bytes_fp16 <= RESERVE * free
        return Placement(device, torch.float32 if fits else torch.bfloat16, offload=False)
    tight = weight_bytes_fp16 > RESERVE * free
    return Placement(device, torch.float16, offload=tight and device.type in OWN_MEMORY)


def release() -> None:
    """Give unused memory back to the system or the driver."""
    import ctypes
    import gc

    gc.collect()
    # glibc keeps what is freed for later; elsewhere there is no such call.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    match best_device().type:
        case "cuda":
            torch.cuda.empty_cache()
        case "xpu":
            torch.xpu.empty_cache()
        case "mps":
            torch.mps.empty_cache()


def _free_on_xpu(device: torch.device) -> int:
    try:
        free, _total = torch.xpu.mem_get_info(device)
    except (RuntimeError, AttributeError):
        # Some of Intel's drivers do not tell (pytorch issue 161381), nor did torch before 2.6.
        total = torch.xpu.get_device_properties(device).total_memory
        free = total - torch.xpu.memory_reserved(device)
    return int(free)


def _free_in_computer() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
