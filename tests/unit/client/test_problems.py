"""What a server refuses becomes the KizyError that its code has here."""

from __future__ import annotations

import json

import pytest
from kizy.core import errors
from kizy.core.errors import CODES, EngineError, InputError, StorageError, UnknownNameError
from kizy.core.job import ErrorInfo
from kizy.orchestrator.sdk.remote.problems import AwayError, Place, error_of, refused

PLACE = Place("http://draw.example.org", "secret-key")


def document(**values: str) -> bytes:
    return json.dumps({"type": "about:blank", "title": "No."} | values).encode()


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_becomes_its_class(code: str) -> None:
    error = refused(PLACE, "/v1/jobs", 422, document(code=code, detail="What.", fix="Do."))
    assert type(error) is getattr(errors, CODES[code].error)
    assert (error.code, error.message, error.fix) == (code, "What.", "Do.")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, UnknownNameError),
        (410, UnknownNameError),
        (400, InputError),
        (403, InputError),
        (409, InputError),
        (422, InputError),
        (429, EngineError),
        (500, EngineError),
        (503, EngineError),
        (507, StorageError),
    ],
)
def test_a_code_that_is_not_known_gets_the_nearest_class(status: int, kind: type) -> None:
    error = refused(PLACE, "/v1/jobs", status, document(code="moon_full", detail="The moon."))
    assert type(error) is kind
    assert (error.code, error.message) == ("moon_full", "The moon.")
    assert error.fix


def test_an_error_of_a_job_needs_no_status() -> None:
    assert type(error_of(ErrorInfo(code="moon_full", message="a", fix="b"))) is EngineError
    known = error_of(ErrorInfo(code="out_of_memory", message="a", fix="b"))
    assert (type(known), known.fix) == (EngineError, "b")


def test_a_document_without_detail_and_fix_is_completed() -> None:
    error = refused(PLACE, "/x", 404, json.dumps({"code": "job_unknown"}).encode())
    assert error.message == CODES["job_unknown"].meaning
    assert error.fix == CODES["job_unknown"].fix


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "server_refused", EngineError),
        (407, "server_refused", EngineError),
        (404, "server_too_old", EngineError),
        (413, "upload_too_large", InputError),
        (429, "server_unreachable", AwayError),
        (502, "server_unreachable", AwayError),
        (521, "server_unreachable", AwayError),
        (500, "server_failed", EngineError),
        (418, "server_failed", EngineError),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'{"code": 3}', b'{"code": "a b"}', b"\xff"]
)
def test_what_a_proxy_says_is_told_in_plain_words(
    status: int, code: str, kind: type, body: bytes
) -> None:
    error = refused(PLACE, "/v1/jobs", status, body)
    assert (error.code, type(error)) == (code, kind)
    assert error.message.endswith(".") and error.fix


def test_the_key_is_never_shown() -> None:
    body = document(code="key_wrong", detail="secret-key is wrong", fix="not secret-key")
    known = refused(PLACE, "/x", 401, body)
    plain = refused(PLACE, "/x", 500, b"you sent secret-key")
    shown = f"{known.message} {known.fix} {plain.message} {plain.raw} {PLACE!r}"
    assert "secret-key" not in shown


def test_a_terminal_is_not_controlled() -> None:
    body = document(code="job_unknown", detail="a\x1b[31mb\rc" + "d" * 9000)
    error = refused(PLACE, "/x", 404, body)
    assert error.message.startswith("a?[31mb?c") and len(error.message) == 2000
