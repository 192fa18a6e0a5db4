"""Files that hold the captions of many pictures: Hugging Face's metadata, sd-scripts' meta files.

Hugging Face (datasets, "ImageFolder"): metadata.jsonl or metadata.csv with `file_name` and a column
of text. sd-scripts (merge_captions_to_metadata.py): a JSON object, name -> {"caption", "tags"}.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from .archives import Unreadable
from .signatures import ending

ENDINGS = (".jsonl", ".csv", ".json")
MAX_BYTES = 32_000_000
"""Bytes of a list that is still read."""

_NAMES = ("file_name", "filename", "file", "image", "image_path", "path", "name")
_TEXTS = ("text", "caption", "captions", "prompt", "description", "tags")


def captions_in(place: str, data: bytes) -> list[tuple[str, bytes]]:
    """(path of a picture, with or without its ending; its caption) of each entry.

    `place`: the list's own path with slashes; names in it count from its folder. Captions of a CSV
    file are as they stand there, those of JSON in UTF-8. Raises Unreadable, in words behind a name.
    """
    if len(data) > MAX_BYTES:
        raise Unreadable(f"is larger than {MAX_BYTES // 10**6} MB: no list of captions is")
    rows = list(_csv_rows(data) if ending(place) == ".csv" else _json_rows(place, data))
    folder = PurePosixPath(place.replace("\\", "/")).parent
    found = []
    for name, text in rows:
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if text.strip() and parts and ".." not in parts:
            path = name if name.startswith("/") else (folder / "/".join(parts)).as_posix()
            found.append((path, text))
    if not found:
        raise Unreadable("holds no captions that Kizy knows (names and texts of pictures)")
    return found


def _json_rows(place: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        text = data.decode("utf-8-sig")
        if ending(place) == ".jsonl":
            values: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable("is no whole JSON in UTF-8") from error
    if isinstance(values, dict) and values and all(isinstance(v, dict) for v in values.values()):
        values = [{"file_name": name} | value for name, value in values.items()]
    elif isinstance(values, dict):
        # One picture's own file, of the picture's name.
        values = [{"file_name": PurePosixPath(place).stem} | values]
    for row in values if isinstance(values, list) else ():
        if isinstance(row, dict):
            name = next((row[key] for key in _NAMES if isinstance(row.get(key), str)), None)
            if name is not None:
                yield name, _said(row).encode("utf-8", "replace")


def _said(row: dict[str, Any]) -> str:
    """The caption, and tags behind it, as sd-scripts joins them."""
    found = []
    for key in _TEXTS:
        value = row.get(key)
        if isinstance(value, list):
            value = ", ".join(part for part in value if isinstance(part, str))
        if isinstance(value, str) and value.strip() and (not found or key == "tags"):
            found.append(value.strip())
    return ", ".join(found)


def _csv_rows(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Bytes are kept as they are: what encoding they are in is judged with all captions."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    head = text.split("\n", 1)[0]
    between = max(",;\t", key=head.count)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=between)
        header = [cell.strip().lower() for cell in next(rows, [])]
        name = next((header.index(key) for key in _NAMES if key in header), None)
        said = next((header.index(key) for key in _TEXTS if key in header), None)
        if name is None or said is None:
            raise Unreadable("has no columns file_name and text")
        for row in rows:
            if len(row) > max(name, said):
                raw = row[name].encode("latin-1")
                yield _name(raw), row[said].encode("latin-1")
    except csv.Error as error:
        raise Unreadable("is no CSV that can be read") from error


def _name(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        # As the names of files are stored that are no UTF-8.
        return raw.decode("utf-8", "surrogateescape")
