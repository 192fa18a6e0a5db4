"""Reading the header of a safetensors file, by hand and with distrust. No weight is read.

The format: 8 bytes with the header's length (little endian), the header as JSON, the tensors'
bytes without gaps (https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from ...core.errors import ModelFileError, UnknownNameError

MAX_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library."""

MAX_DIMENSIONS = 64

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
MODEL_SUFFIXES = (".safetensors", ".sft", *PICKLE_SUFFIXES)

_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
FIRST_DATA = 16
"""Bytes behind the header that are read with it."""
_WHOLE = {int}
_TWICE = "is damaged: its header names a tensor twice"
_LOOK = 500
"""Bytes at its beginning that tell what a file is that is no safetensors file."""

_FOREIGN: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"<!doctype", b"<html", b"<?xml"), "is a web page, not a model"),
    (
        (b"version https://git-lfs",),
        "is only a pointer of Git LFS: the file itself was never fetched",
    ),
    ((b"gguf",), "is a GGUF file, which Kizy does not read"),
    (
        (b'{"error', b'{"message', b'{"status', b'{ "error'),
        "holds the error of a service, not a model",
    ),
    ((b"rar!", b"7z\xbc\xaf", b"\x1f\x8b"), "is a packed archive: unpack it"),
    ((b"\x89png", b"\xff\xd8\xff", b"riff"), "is a picture, not a model"),
)
_PICKLE_PROTOCOLS = range(2, 6)


class TensorInfo(NamedTuple):
    """`dtype` in the format's words ("F16", ...); `offset`: of its first byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself. `size` of the whole file, in bytes."""

    path: Path
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] = field(default_factory=dict)
    size: int = 0


def read_header(path: Path) -> Header:
    """The header of a safetensors file, checked against the file's length.

    Raises UnknownNameError `file_missing`, ModelFileError `model_file_pickled` (by suffix or
    content) or `model_file_damaged`.
    """
    return parse_header(path, *header_text(path))


def header_text(path: Path) -> tuple[bytes, int]:
    """The header's JSON as it stands in the file, not looked at yet, and the file's size in bytes.

    Raises as `read_header`.
    """
    text, size, _ = header_start(path)
    return text, size


def header_start(path: Path) -> tuple[bytes, int, bytes]:
    """The header's JSON as it stands in the file, not looked at yet; the file's size in bytes; and
    the first few bytes of the data, where a LoRA's alpha mostly lies.

    Raises as `read_header`.
    """
    if not is_file(path):
        raise UnknownNameError("file_missing", f"There is no file {path}.")
    refuse_pickled(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(9)
            if start[8:] != b"{":
                start += file.read(_LOOK)
            length = _header_length(path, start, size)
            text = start[8:] + file.read(max(0, length + FIRST_DATA - len(start[8:])))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _damaged(path, f"cannot be read ({reason})") from error
    if len(text) < length:
        raise _damaged(path, "is cut short in its header")
    return text[:length], size, text[length:]


def parse_header(path: Path, text: bytes, size: int) -> Header:
    """The checked header from its JSON and the file's size. Raises as `read_header`."""
    try:
        values = json.loads(text)
        # JSON keeps the last of two: told only where one seems to be missing, as it is slower.
        if isinstance(values, dict) and text.count(b'"data_offsets"') > len(values):
            json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError, MemoryError) as error:
        said = _TWICE if str(error) == _TWICE else "has a header that is no JSON"
        raise _damaged(path, said) from error
    return _checked(path, values, 8 + len(text), size)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(_TWICE)
    return found


def refuse_pickled(path: Path) -> None:
    """Raise ModelFileError `model_file_pickled` if the name says that it is a pickle."""
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise _pickled(path)


def is_file(path: Path) -> bool:
    """Whether a file is there; False also for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def readable(text: str) -> str:
    """The text with a question mark for each byte of a file name that is no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_scalar(header: Header, name: str) -> float | None:
    """The value of a tensor with one element; None if it has more, or is no float."""
    tensor = header.tensors[name]
    return scalar_of(tensor, lambda size: _bytes_at(header.path, tensor.offset, size))


def scalar_of(tensor: TensorInfo, read: Callable[[int], bytes]) -> float | None:
    """As `read_scalar`; `read` gives the tensor's bytes, so many of them."""
    if any(length != 1 for length in tensor.shape):
        return None
    code = {"F16": "<e", "F32": "<f", "F64": "<d", "BF16": "<f"}.get(tensor.dtype)
    if code is None:
        return None
    data = read(_BITS[tensor.dtype] // 8)
    if tensor.dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        data = b"\0\0" + data
    return struct.unpack(code, data)[0] if len(data) == struct.calcsize(code) else None


def _bytes_at(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError:
        return b""


def _header_length(path: Path, start: bytes, size: int) -> int:
    length = int.from_bytes(start[:8], "little")
    # JSON may begin with blanks, and the safetensors library reads such a file.
    looks_right = start[8:].lstrip(b" \t\r\n")[:1] == b"{" and length <= MAX_HEADER
    if not looks_right:
        # Only then: a header of 640 bytes begins with the two bytes of a pickle, too.
        if _looks_pickled(start):
            raise _pickled(path)
        _refuse_foreign(path, start)
    if len(start) < 9:
        raise _damaged(path, f"is cut short: it has {size} bytes")
    if not looks_right:
        raise _damaged(path, "is no safetensors file")
    if 8 + length > size:
        raise _damaged(path, "is cut short in its header")
    return length


def _refuse_foreign(path: Path, start: bytes) -> None:
    """Say what a file is that is none of tensors: by its first bytes."""
    text = start.lstrip().lower()
    for beginnings, what in _FOREIGN:
        if text.startswith(beginnings):
            raise _damaged(path, what)
    if len(start) > 8 and not start.strip(b"\0"):
        raise _damaged(path, "holds nothing but zeros: its download never ended")


def _looks_pickled(start: bytes) -> bool:
    if start[:2] == b"PK":
        return True
    return len(start) > 1 and start[0] == 0x80 and start[1] in _PICKLE_PROTOCOLS


def _checked(path: Path, values: Any, data_start: int, size: int) -> Header:
    if not isinstance(values, dict):
        raise _damaged(path, "has a header that is no JSON object")
    metadata = values.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _damaged(path, "has metadata that is no text")
    tensors = _right_tensors(values, data_start)
    if tensors is None:
        for name, value in values.items():
            _check_tensor(path, name, value)
        raise _damaged(path, "is damaged: its header is wrong")
    spans = [tuple(value["data_offsets"]) for value in values.values()]
    _check_spans(path, spans, size - data_start)
    return Header(path=path, tensors=tensors, metadata=metadata, size=size)


def _right_tensors(values: dict[str, Any], data_start: int) -> dict[str, TensorInfo] | None:
    """All tensors, checked together: a library has millions. None if one of them is wrong."""
    try:
        entries = [(v["dtype"], v["shape"], v["data_offsets"]) for v in values.values()]
    except (TypeError, KeyError):
        return None
    lists = [entry[1] for entry in entries] + [entry[2] for entry in entries]
    if not {type(entry[0]) for entry in entries} <= {str} or not set(map(type, lists)) <= {list}:
        return None
    numbers = list(chain.from_iterable(lists))
    if not _lengths(numbers) or max(map(len, lists), default=0) > MAX_DIMENSIONS:
        return None
    found: dict[str, TensorInfo] = {}
    for name, (dtype, shape, offsets) in zip(values, entries, strict=True):
        if len(offsets) != 2 or offsets[0] > offsets[1]:
            return None
        bits = _BITS.get(dtype)
        if bits is not None and prod(shape) * bits != (offsets[1] - offsets[0]) * 8:
            return None
        found[name] = TensorInfo(dtype, tuple(shape), data_start + offsets[0])
    return found


def _check_tensor(path: Path, name: str, value: Any) -> None:
    """Raise ModelFileError `model_file_damaged` if the header is wrong about this one."""
    if not isinstance(value, dict):
        raise _wrong_tensor(path, name)
    dtype, shape, offsets = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or not _lengths(shape) or not _lengths(offsets):
        raise _wrong_tensor(path, name)
    if len(shape) > MAX_DIMENSIONS or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _wrong_tensor(path, name)
    bits = _BITS.get(dtype)
    if bits is not None and prod(shape) * bits != (offsets[1] - offsets[0]) * 8:
        raise _wrong_tensor(path, name)


def _lengths(values: Any) -> TypeGuard[list[int]]:
    """Whether it is a list of whole numbers from 0 to 2^63."""
    if not isinstance(values, list) or not set(map(type, values)) <= _WHOLE:
        return False
    return not values or (min(values) >= 0 and max(values) < 2**63)


def _check_spans(path: Path, spans: list[tuple[int, ...]], available: int) -> None:
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise _damaged(path, "is damaged: its tensors overlap or leave gaps")
        position = end
    if position > available:
        missing = position - available
        raise _damaged(path, f"is cut short: {missing:,} bytes are missing at its end")
    if position < available:
        raise _damaged(path, f"is {available - position:,} bytes longer than it says")


def _wrong_tensor(path: Path, name: str) -> ModelFileError:
    shown = name if len(name) <= 60 else name[:57] + "..."
    return _damaged(path, f"is damaged: its header is wrong about the tensor {shown!r}")


def _damaged(path: Path, what: str) -> ModelFileError:
    return ModelFileError("model_file_damaged", f"{path.name} {what}.")


def _pickled(path: Path) -> ModelFileError:
    return ModelFileError(
        "model_file_pickled", f"{path.name} is a pickled file, which can run code."
    )
