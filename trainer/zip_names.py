"""What the names in a zip file say: in UTF-8, or in the encoding of the system that packed it.

APPNOTE.TXT 6.3: bit 11 of the flags marks UTF-8 (4.4.4); the extra field 0x7075 holds the name in
UTF-8 beside the other one (4.6.9). Everything else is in an encoding that the file does not name.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Sequence

from .encodings import NAMES, judge, shown

_UTF_8 = 0x800
_UNICODE_PATH = 0x7075
_SEPARATOR = re.compile(rb"(?<![\x80-\xff])\\")
"""A backslash that is not the second byte of a letter."""


def decoded(infos: Sequence[zipfile.ZipInfo]) -> tuple[list[str], str | None]:
    """The entries' names with slashes, and what is to be told of them, in plain words.

    Names that are marked in no way are judged together. Where they are in no encoding for sure, no
    backslash within a letter is taken for a separator.
    """
    names: dict[int, str] = {}
    unmarked: dict[int, bytes] = {}
    for place, info in enumerate(infos):
        if info.flag_bits & _UTF_8:
            names[place] = info.orig_filename.replace("\\", "/")
            continue
        raw = info.orig_filename.encode("cp437")
        text = _unicode_path(info.extra, raw)
        if text is None:
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                unmarked[place] = raw
                continue
        names[place] = text.replace("\\", "/")
    if not unmarked:
        return [names[place] for place in range(len(infos))], None
    # A folder's name stands in all its files' names, but tells as much as one.
    parts = {part: None for raw in unmarked.values() for part in raw.split(b"/")}
    verdict = judge(parts, NAMES)
    encoding = verdict.encoding
    for place, raw in unmarked.items():
        if encoding is not None:
            names[place] = raw.decode(encoding).replace("\\", "/")
        else:
            guess = verdict.nearest[0] if verdict.nearest else "cp437"
            names[place] = _SEPARATOR.sub(b"/", raw).decode(guess, "replace")
    first = names[min(unmarked)]
    if encoding is not None:
        note = f'has names in {shown(encoding)}, such as "{first}"'
    else:
        note = f'has names in an encoding that cannot be told for sure, such as "{first}"'
    return [names[place] for place in range(len(infos))], note


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name of the extra field 0x7075, if it is there and belongs to this name."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        data = extra[place + 4 : place + 4 + length]
        if kind == _UNICODE_PATH and len(data) > 5 and data[0] == 1:
            if struct.unpack_from("<L", data, 1)[0] != zlib.crc32(raw):
                return None
            try:
                return data[5:].decode("utf-8")
            except UnicodeDecodeError:
                return None
        place += 4 + length
    return None
