"""The chunks of PNG files, as they stand in the file (W3C, PNG Specification, third edition, 5)."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import PictureError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")

TEXT_MOST = 1 << 20
"""Bytes of an unpacked text or profile from which Pillow refuses the whole picture
(PngImagePlugin.MAX_TEXT_CHUNK)."""
TEXTS_MOST = 32 << 20
"""Bytes of all texts of a file that are kept; Pillow refuses the picture from 64 MB on."""
PROFILE_MOST = 16 << 20
"""Bytes of a colour profile that is still followed; profiles of printers have up to 4 MB."""
_CHUNKS_MOST = 500_000


@dataclass(frozen=True)
class Lightened:
    """A PNG file without the texts that are too large to unpack. `profile`: one that Pillow would
    not unpack, None if there is none or it is too large.
    """

    data: bytes
    profile: bytes | None


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of each chunk of a PNG file, checksums checked, up to its end.

    Raises PictureError `picture_unreadable`.
    """
    png_size(data)
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        end = position + 8 + length
        chunk = data[position + 4 : end]
        if len(chunk) != length + 4 or _checksum(chunk) != data[end : end + 4]:
            break
        yield chunk[:4], chunk[4:]
        if chunk[:4] == b"IEND":
            return
        position += 12 + length
    raise PictureError("picture_unreadable", "What came back is a damaged PNG picture.")


def packed(kind: bytes, content: bytes) -> bytes:
    """A chunk as it stands in a file."""
    return struct.pack(">I", len(content)) + kind + content + _checksum(kind + content)


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG file. Raises PictureError `picture_unreadable`."""
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        raise PictureError("picture_unreadable", "What came back is no PNG picture.")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def is_whole(path: Path) -> bool:
    """Whether a PNG file goes on to its last chunk. OSErrors pass through."""
    with path.open("rb") as file:
        return any(kind == b"IEND" for kind, _, _ in _places(file))


def lightened(path: Path) -> Lightened | None:
    """What Pillow can open of a PNG file whose texts or profile it would refuse to unpack.

    Nothing is unpacked beyond `TEXT_MOST` (texts) or `PROFILE_MOST` bytes. None if there is nothing
    to leave out, or the file is not whole. OSErrors pass through.
    """
    profile: bytes | None = None
    too_large: list[tuple[int, int]] = []
    texts, whole = 0, False
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return None
        for kind, place, length in _places(file):
            whole = kind == b"IEND"
            if kind != b"iCCP" and kind not in TEXTS:
                continue
            file.seek(place + 8)
            content = file.read(length)
            if kind == b"iCCP":
                packed_profile = content.partition(b"\0")[2][1:]
                if _inflated(packed_profile, TEXT_MOST) is None:
                    too_large.append((place, length + 12))
                    profile = _inflated(packed_profile, PROFILE_MOST)
                continue
            size = _text_size(kind, content)
            if size is None or texts + size > TEXTS_MOST:
                too_large.append((place, length + 12))
            else:
                texts += size
        if not whole or not too_large:
            return None
        file.seek(0)
        data = file.read()
    kept = io.BytesIO()
    position = 0
    for place, length in too_large:
        kept.write(data[position:place])
        position = place + length
    kept.write(data[position:])
    return Lightened(kept.getvalue(), profile)


def _places(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """(type, place in the file, length of the content) of each whole chunk."""
    end = file.seek(0, 2)
    place = len(SIGNATURE)
    for _ in range(_CHUNKS_MOST):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        if place + 12 + length > end:
            return
        yield kind, place, length
        if kind == b"IEND":
            return
        place += 12 + length


def _text_size(kind: bytes, content: bytes) -> int | None:
    """Bytes of a text when it is unpacked; None if it unpacks to more than `TEXT_MOST`."""
    rest = content.partition(b"\0")[2]
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] != b"\1"):
        return len(rest)
    # A method; in an iTXt a flag, the method, a language and the translated key.
    unpacked = _inflated(rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[-1], TEXT_MOST)
    return None if unpacked is None else len(unpacked)


def _inflated(data: bytes, most: int) -> bytes | None:
    """None if it is larger than `most` bytes; as far as it goes if it is damaged."""
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(data, most)
    except zlib.error:
        return b""
    return None if unpacking.unconsumed_tail else unpacked


def _checksum(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))
