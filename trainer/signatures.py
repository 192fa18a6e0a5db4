"""What a file is, by its first bytes; its name only helps to say why it cannot be used."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from ..core.picture_advice import what_it_is
from ..core.picture_reader import ENDINGS

Kind = Literal["picture", "video", "archive", "other"]

HEAD = 64
"""So many first bytes decide."""

CAPTION_ENDINGS = (".txt", ".caption")

_PICTURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  ",
)
_ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x07\x08",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
)
_VIDEOS = (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
"""Brands of ISO base media files that are pictures (AVIF and HEIF, ISO/IEC 23008-12)."""
_QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip")

_ARCHIVE_ENDINGS = ".zip .7z .rar .tar .gz .tgz .bz2 .tbz2 .xz .txz .zst .cab .iso .lzh".split()
_REASONS = {
    ".svg": "is a drawing in SVG: save it as PNG",
    ".psd": "is a Photoshop file: save it as PNG",
    ".psb": "is a Photoshop file: save it as PNG",
    ".kra": "is a Krita file: save it as PNG",
    ".xcf": "is a GIMP file: save it as PNG",
    ".clip": "is a Clip Studio file: save it as PNG",
    ".afphoto": "is an Affinity file: save it as PNG",
    ".pdf": "is a PDF: save its pages as PNG",
    ".toml": "is a settings file: its captions are not read",
    ".npz": "is a cache of another trainer: it is made anew",
    **dict.fromkeys(
        ".dng .cr2 .cr3 .nef .nrw .arw .orf .rw2 .raf .pef .srw".split(),
        "is a raw photo: save it as JPEG or PNG",
    ),
}


def kind_of(name: str, head: bytes) -> Kind:
    """What the file is, by at least its first `HEAD` bytes."""
    if ending(name) in _REASONS:
        # Raw photos begin like TIFF, Krita's files like a zip.
        return "other"
    if head[:4] == b"RIFF":
        if head[8:12] == b"AVI ":
            return "video"
        return "picture" if head[8:12] == b"WEBP" else "other"
    if head[4:8] == b"ftyp":
        return "picture" if head[8:12] in _STILL_BRANDS else "video"
    if head[4:8] in _QUICKTIME or head.startswith(_VIDEOS):
        return "video"
    if head.startswith(_PICTURES) or (head[:2] == b"BM" and head[6:10] == bytes(4)):
        return "picture"
    if head.startswith(_ARCHIVES) or ending(name) in _ARCHIVE_ENDINGS:
        return "archive"
    if head[:1] == b"G" and ending(name) in (".ts", ".mts"):
        return "video"
    if head[4:5] == b"G" and ending(name) in (".m2ts", ".mts"):
        return "video"
    return "other"


def why_not(name: str, size: int, head: bytes) -> str:
    """Why a file that is no picture cannot be used, by its first `HEAD` bytes."""
    if size == 0:
        return "is empty"
    if ending(name) in ENDINGS:
        why, fix = what_it_is(head)
        return f"{why}: {in_short(fix)}"
    return _REASONS.get(ending(name), "is no picture or video that Kizy can read")


def in_short(fix: str) -> str:
    """A sentence of advice as words behind a colon."""
    words = fix.split(":")[0].rstrip(".")
    return words[:1].lower() + words[1:]


def ending(name: str) -> str:
    """The name's ending in lower case, with its dot; empty if there is none."""
    return PurePosixPath(name).suffix.lower()


def is_junk(name: str) -> bool:
    """Whether it is something that systems leave in folders, which is only counted.

    `name`: the path below the folder or archive, with slashes.
    """
    *above, last = PurePosixPath(name).parts or ("",)
    hidden = any(part.startswith(".") and part not in (".", "..") for part in above)
    left = last.startswith(("._", ".git", ".DS_Store")) or last in _HIDDEN
    return hidden or left or any(part.lower() in _JUNK for part in (*above, last))


def is_hidden(name: str) -> bool:
    """Whether the file's own name begins with a dot."""
    return PurePosixPath(name).name.startswith(".")


_JUNK = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin")
_HIDDEN = (".localized", ".directory", ".nomedia", ".cache", ".git", ".ipynb_checkpoints", ".venv")


def shown(name: str) -> str:
    """A name out of a file, made fit to be shown: no control characters, not endless."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= 120 else f"{plain[:58]}…{plain[-58:]}"
