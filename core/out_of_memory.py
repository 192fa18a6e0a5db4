"""How programs say that memory ran out: one table for both engines and for trainers. Pure."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Saying:
    """`words`: a regular expression, whatever the case of letters. `source`: where it was read.

    `fix`: what helps, where that is another thing than for all.
    """

    words: str
    source: str
    fix: str | None = None


_COMFYUI = "https://github.com/Comfy-Org/ComfyUI/issues/"
_PYTORCH = "https://github.com/pytorch/pytorch/issues/"

SAYINGS = (
    # CUDA, HIP (ROCm), XPU and MPS begin alike: "HIP out of memory. Tried to allocate 432.00 MiB."
    Saying(r"out of memory", _COMFYUI + "9529"),
    Saying(r"OutOfMemoryError", _COMFYUI + "4852"),
    # cudaMallocAsync: "Allocation on device 0 would exceed allowed memory."
    Saying(r"allocation on device", _COMFYUI + "5886"),
    Saying(r"(?:cuda|hip)_?error_?(?:out_?of_?memory|memory_?allocation)",
           "https://github.com/keras-team/keras/issues/13889"),
    # cuBLAS, cuDNN, cuSOLVER, hipBLAS, MIOpen.
    Saying(r"STATUS_(?:INTERNAL_ERROR_\w*)?ALLOC(?:ATION)?_FAILED",
           "https://github.com/tensorflow/tensorflow/issues/45423"),
    Saying(r"miopenStatusAllocFailed|rocblas_status_memory_error",
           "https://rocm.docs.amd.com/projects/rocBLAS (rocblas_status), MIOpen (miopenStatus_t)"),
    # PyTorch's words where each of cuDNN's algorithms lacks room.
    Saying(r"unable to find a valid cuDNN algorithm",
           "https://github.com/XPixelGroup/DiffBIR/issues/59"),
    # Apple: one buffer is larger than the card takes.
    Saying(r"invalid buffer size", "https://github.com/huggingface/diffusers/issues/5894"),
    Saying(r"insufficient memory|CommandBufferCallbackErrorOutOfMemory",
           "https://github.com/ggml-org/llama.cpp/issues/9701"),
    # Intel: of Level Zero and SYCL, before and after 2024.
    Saying(r"(?:UR|PI|ZE)_(?:RESULT_)?ERROR_OUT_OF_(?:\w*MEMORY|RESOURCES)",
           _PYTORCH + "190972"),
    # DirectML: "There is not enough GPU video memory available!" and older "allocator".
    Saying(r"not enough (?:\w+ )*memory|could not allocate tensor", _COMFYUI + "2075"),
    # PyTorch on the CPU: "can't allocate memory" on Linux, "not enough memory" on Windows.
    Saying(r"(?:can't|cannot|could not|unable to|failed to) allocate (?:memory|\d)",
           _COMFYUI + "5647"),
    Saying(r"DefaultCPUAllocator", _COMFYUI + "7481"),
    # ComfyUI's dynamic VRAM reads weights into pinned memory on demand.
    Saying(r"HostBuffer\.\w+ failed|HostBufferError", _COMFYUI + "15255",
           "Close other programs there, or start ComfyUI with --disable-dynamic-vram."),
    # Windows, in every language: the paging file is too small.
    Saying(r"(?:os error|winerror):? 1455\b|paging file is too small", _COMFYUI + "8065",
           "Let Windows manage the size of its paging file, on a disk with room."),
    Saying(r"std::bad_alloc|\bbad allocation\b",
           "https://en.cppreference.com/w/cpp/memory/new/bad_alloc (MSVC: bad allocation)"),
    # Python's own and NumPy's: "_ArrayMemoryError: Unable to allocate 28.3 GiB for an array".
    Saying(r"(?:^|[\s.\[(])_?(?:Array)?MemoryError\b",
           "https://github.com/chflame163/ComfyUI_LayerStyle/issues/425"),
    Saying(r"unable to allocate [\d.]+ ?\w+ for an array",
           "https://github.com/MIC-DKFZ/nnUNet/issues/2213"),
)  # fmt: skip

_ANY = re.compile("|".join(saying.words for saying in SAYINGS), re.IGNORECASE | re.MULTILINE)
_WINDOWS = (8, 14, 1455)
"""ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_COMMITMENT_LIMIT (winerror.h)."""


def says_out_of_memory(text: str) -> bool:
    """Whether what a program said means that memory ran out: the GPU's, or the computer's."""
    return _ANY.search(text) is not None


def fix_for(text: str) -> str | None:
    """What helps against what a program said; None: what helps against all of it."""
    fixes = (one.fix for one in SAYINGS if one.fix and re.search(one.words, text, re.IGNORECASE))
    return next(fixes, None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or what it came from, means that memory ran out."""
    return any(_means_it(one) for one in _causes(error))


def _means_it(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and (
        error.errno == errno.ENOMEM or getattr(error, "winerror", None) in _WINDOWS
    ):
        return True
    # With the names of its kinds: torch's OutOfMemoryError is known without importing torch.
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    return says_out_of_memory(f"{kinds}: {error}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
