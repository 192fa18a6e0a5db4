"""Memory that ran out is recognised in the words of every program and device that says so."""

from __future__ import annotations

import errno
import re

import pytest
from kizy.core.out_of_memory import SAYINGS, fix_for, is_out_of_memory, says_out_of_memory

SAID = [
    "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 31.75 GiB total capacity)",
    "HIP out of memory. Tried to allocate 432.00 MiB. GPU 0 has a total capacity of 15.92 GiB",
    "XPU out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 15.11 GiB",
    "MPS backend out of memory (MPS allocated: 18.13 GB, other allocations: 2 MB)",
    "CUDA error: out of memory",
    "torch.OutOfMemoryError: Allocation on device ",
    "Allocation on device 0 would exceed allowed memory. (out of memory)",
    "failed to allocate 32.00M (33554432 bytes) from device: CUDA_ERROR_OUT_OF_MEMORY",
    "hipErrorOutOfMemory",
    "HIP_ERROR_OutOfMemory",
    "cudaErrorMemoryAllocation",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
    "MIOpen Error: miopenStatusAllocFailed",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "Invalid buffer size: 11.25 GB",
    "Invalid buffer size: 19.38 GiB",
    "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    "Could not allocate tensor with 58982400 bytes. "
    "There is not enough GPU video memory available!",
    "Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES) -5",
    "level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
    "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    "[enforce fail at alloc_cpu.cpp:115] data. DefaultCPUAllocator: not enough memory: "
    "you tried to allocate 3376447488 bytes.",
    "[enforce fail at CPUAllocator.cpp:64] . DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 67108864 bytes. Error code 12 (Cannot allocate memory)",
    "unable to mmap 23802932552 bytes from file <flux1-dev.safetensors>: Cannot allocate memory",
    "HostBuffer.read_file_slice failed",
    "The paging file is too small for this operation to complete. (os error 1455)",
    "El archivo de paginación es demasiado pequeño para completar la operación. (os error 1455)",
    "[WinError 1455] 页面文件太小,无法完成操作。",
    "Not enough memory resources are available to process this command. (os error 8)",
    "std::bad_alloc",
    "bad allocation",
    "MemoryError",
    "MemoryError: ",
    "Traceback (most recent call last):\n  File x\nMemoryError\n",
    "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 28.3 GiB for an array",
]


@pytest.mark.parametrize("said", SAID)
def test_what_programs_say_of_it_is_known(said: str) -> None:
    assert says_out_of_memory(said)
    assert is_out_of_memory(RuntimeError(said))


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: device-side assert triggered",
        "mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)",
        "Error while deserializing header: MetadataIncompleteBuffer",
        "[Errno 28] No space left on device",
        "There is not enough space on the disk",
        "pin_memory=True moves batches faster to the GPU's memory",
        "Total VRAM 24576 MB, total RAM 49088 MB",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_nothing_else_is_taken_for_it(said: str) -> None:
    assert not says_out_of_memory(said)
    assert not is_out_of_memory(RuntimeError(said))


@pytest.mark.parametrize("saying", SAYINGS, ids=lambda saying: saying.words)
def test_each_line_of_the_table_has_a_case_and_a_source(saying) -> None:
    found = [said for said in SAID if re.search(saying.words, said, re.IGNORECASE | re.MULTILINE)]
    assert found and saying.source.startswith("https://")


def test_pythons_own_exceptions_are_known_without_words() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(OSError(errno.ENOMEM, "?"))
    assert not is_out_of_memory(OSError(errno.ENOENT, "No such file"))


def test_the_number_of_windows_error_is_enough() -> None:
    error = OSError(22, "Die Auslagerungsdatei")
    error.winerror = 1455  # pyright: ignore[reportAttributeAccessIssue]
    assert is_out_of_memory(error)


def test_what_an_exception_came_from_counts() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise OSError("Unable to load weights from checkpoint file") from error
    except OSError as error:
        assert is_out_of_memory(error)


def test_a_paging_file_that_is_too_small_has_a_fix_of_its_own() -> None:
    assert "paging file" in (fix_for("(os error 1455)") or "")
    assert fix_for("CUDA out of memory.") is None
