"""Forms with files (multipart/form-data), streamed to disk with limits before they are parsed."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ....core.errors import InputError
from .upload_spool import ArrivingFile, ArrivingFolder

MULTIPART = b"multipart/form-data"

MAX_FIELDS = 1200
"""Texts of one form, ids of files among them."""

MAX_FILES = 1000
MAX_TEXT = 100_000
"""Bytes of one text: 10,000 letters of any alphabet, and more."""

LimitOf = Callable[[str, str], int]
"""(field, file name) -> bytes that the file may have. Raises InputError for one not wanted."""


@dataclass
class FormFile:
    """A file of a form. `name` as it was sent, which may be anything."""

    name: str
    content: ArrivingFile


@dataclass
class Form:
    """Texts and files by their fields, in the order in which they came."""

    texts: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    files: defaultdict[str, list[FormFile]] = field(default_factory=lambda: defaultdict(list))

    def text(self, name: str) -> str | None:
        """The last text of that name."""
        return self.texts[name][-1] if self.texts.get(name) else None


def is_form(request: Request) -> bool:
    """Whether the request says that it is such a form."""
    return parse_options_header(request.headers.get("content-type"))[0] == MULTIPART


@asynccontextmanager
async def read_form(
    request: Request, folder: ArrivingFolder, limit_of: LimitOf
) -> AsyncIterator[Form]:
    """The request's form; files that nobody moved away are deleted behind the block.

    Raises InputError `request_invalid`, `upload_too_large`, what `limit_of` raises; StorageError.
    """
    reader = _Reader(folder, limit_of)
    try:
        yield await reader.read(request)
    finally:
        for file in reader.opened:
            with contextlib.suppress(OSError):
                file.discard()


class _Reader:
    """One form while it comes in."""

    def __init__(self, folder: ArrivingFolder, limit_of: LimitOf) -> None:
        self._folder, self._limit_of = folder, limit_of
        self._form = Form()
        self.opened: list[ArrivingFile] = []
        self._ended: list[ArrivingFile] = []
        self._header, self._value = bytearray(), bytearray()
        self._disposition = ""
        self._name = ""
        self._text: bytearray | None = None
        self._file: ArrivingFile | None = None
        self._texts = 0
        self._whole = False

    async def read(self, request: Request) -> Form:
        _, options = parse_options_header(request.headers.get("content-type"))
        try:
            parser = MultipartParser(
                options.get(b"boundary", b""),
                {
                    "on_part_begin": self._on_part,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
            async for chunk in request.stream():
                parser.write(chunk)
                await self._settle()
        except FormParserError as error:
            raise InputError("request_invalid", "The form cannot be read.") from error
        if not self._whole:
            raise InputError("request_invalid", "The form is cut short.")
        return self._form

    async def _settle(self) -> None:
        """What came so far goes to the disk."""
        for file in self._ended:
            await file.settle(whole=True)
        self._ended.clear()
        if self._file is not None:
            await self._file.settle()

    def _on_part(self) -> None:
        self._disposition = ""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value.decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _on_headers(self) -> None:
        # The library speaks Latin-1; names are UTF-8 in our days.
        disposition = self._disposition.encode().decode("latin-1")
        _, options = parse_options_header(disposition)
        if b"name" not in options:
            raise InputError("request_invalid", "A part of the form has no name.")
        self._name = _decoded(options[b"name"])
        if b"filename" in options:
            self._begin_file(_decoded(options[b"filename"]))
            return
        self._texts += 1
        if self._texts > MAX_FIELDS:
            raise InputError("request_invalid", f"The form has over {MAX_FIELDS:,} texts.")
        self._text = bytearray()

    def _begin_file(self, name: str) -> None:
        if len(self.opened) >= MAX_FILES:
            raise InputError("pictures_too_many", f"The form has over {MAX_FILES:,} files.")
        file = ArrivingFile(self._folder, self._limit_of(self._name, name))
        self.opened.append(file)
        self._file = file
        self._form.files[self._name].append(FormFile(name, file))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.add(data[start:end])
        elif self._text is not None:
            self._text += data[start:end]
            if len(self._text) > MAX_TEXT:
                message = f"{self._name[:100]}: the text is longer than {MAX_TEXT:,} bytes."
                raise InputError("request_invalid", message)

    def _on_part_end(self) -> None:
        if self._file is not None:
            self._ended.append(self._file)
        elif self._text is not None:
            self._form.texts[self._name].append(self._text.decode("utf-8", "replace"))
        self._file = self._text = None

    def _on_end(self) -> None:
        self._whole = True


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")
