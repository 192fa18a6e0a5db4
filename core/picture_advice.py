"""Why a file cannot be opened as a picture, and what helps: by what the file is."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from .png_chunks import SIGNATURE, is_whole

AGAIN = "Copy or download it again: it did not arrive whole."
AS_PNG = "Save it as PNG."
_MODEL = "Give a picture; models lie in the models folder, LoRAs in the LoRA folder."
_PAGE = "Open its address in a browser, save the picture itself, and give that file."
_ANOTHER = "Get another copy of it, or open it in a picture editor and save it as PNG."
_KINDS = "Give a picture: PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF or HEIC."

HEAD = 512
_TAIL = 4096

_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"8BPS", "is a Photoshop file", AS_PNG),
    (b"gimp xcf", "is a GIMP file", AS_PNG),
    (b"%PDF", "is a PDF", "Save its page as PNG."),
    (b"\x76\x2f\x31\x01", "is a picture in OpenEXR", AS_PNG),
    (b"#?RADIANCE", "is a picture in Radiance HDR", AS_PNG),
    (b"\xff\x0a", "is a picture in JPEG XL", AS_PNG),
    (b"\0\0\0\x0cJXL ", "is a picture in JPEG XL", AS_PNG),
    (b"\0\0\1\0", "is an icon", AS_PNG),
    (b"DDS ", "is a texture (DDS)", AS_PNG),
    (b"qoif", "is a picture in QOI", AS_PNG),
    (b"PK\3\4", "is a zip archive", "Unpack it, and give a picture out of it."),
    (b"Rar!", "is a RAR archive", "Unpack it, and give a picture out of it."),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "Unpack it, and give a picture out of it."),
    (b"\x1aE\xdf\xa3", "is a video", "Give a picture: a frame of it, saved as PNG."),
    (b"\x80\2", "is a Python pickle, which Kizy never opens", _MODEL),
    (b"\x80\3", "is a Python pickle, which Kizy never opens", _MODEL),
    (b"\x80\4", "is a Python pickle, which Kizy never opens", _MODEL),
    (b"\x80\5", "is a Python pickle, which Kizy never opens", _MODEL),
    (b"GGUF", "is a model (GGUF)", _MODEL),
    (b"version https://git-lfs", "is a pointer of Git LFS", "Fetch the file: `git lfs pull`."),
)
"""(first bytes, what it is, what helps) of what is often taken for a picture."""

_PICTURES = (SIGNATURE, b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"RIFF", b"BM")
_STILL = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def why_unreadable(path: Path) -> tuple[str, str]:
    """(words that follow the file's name, a sentence of advice) for one that was not opened."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD)
            file.seek(max(0, size - _TAIL))
            tail = file.read(_TAIL)
        if not size:
            return "is empty", AGAIN
        if not head.strip(b"\0"):
            return "holds nothing but zeros where it begins", AGAIN
        cut = head.startswith(_PICTURES) or head[4:8] == b"ftyp"
        if cut and _is_cut_short(path, head, tail, size):
            return "is cut short", AGAIN
    except OSError as error:
        return f"cannot be read: {error.strerror or 'the disk has a fault'}", (
            "Check the file's permissions, or copy it to another folder."
        )
    return what_it_is(head)


def what_it_is(head: bytes) -> tuple[str, str]:
    """As `why_unreadable`, by the first bytes alone: of a file that goes on to its end."""
    for start, what, helps in _OTHERS:
        if head.startswith(start):
            return what, helps
    if head[4:8] == b"ftyp" and head[8:12] not in _STILL:
        return "is a video", "Give a picture: a frame of it, saved as PNG."
    if head[4:8] == b"ftyp" and b"avif" in head[8:64]:
        return "is an AVIF that cannot be opened here", AS_PNG
    text = _text_of(head)
    if text is not None:
        if re.search(r"<svg[\s>]", text):
            return "is a drawing in SVG", AS_PNG
        if re.match(r"(<!doctype html|<html|<head|<\?xml[^>]*\?>\s*<html)", text):
            return "is a web page that was saved as a picture", _PAGE
        if text.startswith("{") and "errors" in text:
            return "is an error message of a web site", _PAGE
        return "is text, not a picture", _KINDS
    if len(head) > 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 1 << 32:
        return "is a model (safetensors)", _MODEL
    if head.startswith(_PICTURES) or head[4:8] == b"ftyp":
        return "is damaged", _ANOTHER
    return "is no picture that Kizy can read", _KINDS


def _is_cut_short(path: Path, head: bytes, tail: bytes, size: int) -> bool:
    """Whether the file ends before what it began: by its format's own end or length."""
    if head.startswith(SIGNATURE):
        return not is_whole(path)
    if head.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in tail
    if head.startswith(b"RIFF"):
        return size < struct.unpack("<L", head[4:8].ljust(4, b"\0"))[0] + 8
    if head.startswith(b"GIF8"):
        return b";" not in tail[-64:]
    if head.startswith(b"BM"):
        return size < struct.unpack("<L", head[2:6].ljust(4, b"\0"))[0]
    if head[4:8] == b"ftyp":
        return _boxes_end(path) > size
    return False


def _boxes_end(path: Path) -> int:
    """Where the last box of an ISO base media file says that it ends (ISO/IEC 14496-12, 4.2)."""
    place = 0
    with path.open("rb") as file:
        for _ in range(1000):
            file.seek(place)
            head = file.read(16)
            if len(head) < 8:
                break
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                break
            place += length
    return place


def _text_of(head: bytes) -> str | None:
    """The beginning as lower-case text; None if it is none."""
    try:
        text = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n").lower()
    except UnicodeDecodeError:
        return None
    strange = sum(not (letter.isprintable() or letter in "\r\n\t") for letter in text)
    if not text or strange or len(text.encode()) < 0.9 * len(head.strip()):
        return None
    return text
