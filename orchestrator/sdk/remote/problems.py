"""From what a Kizy server refuses, or how it is not reached, to KizyErrors. Pure.

Problem documents are those of RFC 9457, with Kizy's `code` and `fix` beside `detail`.
"""

from __future__ import annotations

import json
import socket
import ssl
import unicodedata
from dataclasses import dataclass, field

from ....core import errors
from ....core.errors import (
    CODES,
    EngineError,
    InputError,
    KizyError,
    StorageError,
    UnknownNameError,
)
from ....core.job import ErrorInfo
from ...backends.comfyui.protocol.connection_errors import every_cause, scrubbed

MAX_WORDS = 2000
"""Letters of a server's message that are shown."""

NOT_DONE = frozenset({429, 503})
"""Statuses with which a server says that it did nothing."""

TRY_AGAIN = frozenset({502, 503, 504})
"""Statuses of a server, or a proxy before it, that will answer later."""


@dataclass(frozen=True)
class Place:
    """The server that is spoken to; its key is never shown.

    `also`: where it is asked if nothing answers at `url`: by IPv6, for `localhost`.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    also: str | None = None


class AwayError(EngineError):
    """The server is not reached (code `server_unreachable`).

    `sent`: what was asked for may have arrived. `hopeless`: asking again will not help.
    """

    def __init__(
        self, message: str, fix: str, raw: str, *, sent: bool = False, hopeless: bool = False
    ) -> None:
        super().__init__("server_unreachable", message, fix=fix, raw=raw)
        self.sent, self.hopeless = sent, hopeless


def error_of(info: ErrorInfo, status: int | None = None) -> KizyError:
    """The error that a server or a job tells of, of the class that its code has here.

    A code that is not known here gets the class that is nearest by HTTP `status`; without one,
    EngineError. `str(error)` is what the server said.
    """
    known = CODES.get(info.code)
    kind = _nearest(status) if known is None else getattr(errors, known.error)
    return kind(info.code, _plain(info.message), fix=_plain(info.fix))


def refused(place: Place, path: str, status: int, body: bytes) -> KizyError:
    """From an answer whose status is no success."""
    text = body.decode("utf-8", "replace")
    info = _problem(text)
    if info is not None:
        said = info.model_copy(
            update={
                "message": scrubbed(info.message, place.key),
                "fix": scrubbed(info.fix, place.key),
            }
        )
        return error_of(said, status)
    raw = scrubbed(f"HTTP {status} for {path}: {text[:MAX_WORDS]}", place.key)
    where = place.url
    if status in (401, 403, 407):
        said = "refused the key" if place.key else "wants a key"
        fix = "Set KIZY_SERVER_KEY to a key of that server: `kizy keys add NAME` there makes one."
        return EngineError("server_refused", f"{where} {said}.", fix=fix, raw=raw)
    if status in (404, 405):
        fix = "Correct the address in KIZY_SERVER, or update Kizy there."
        message = f"{where} has no {path}: it is no Kizy server, or an older one."
        return EngineError("server_too_old", message, fix=fix, raw=raw)
    if status == 413:
        message = f"{where} takes no file of that size."
        return InputError("upload_too_large", message, raw=raw)
    if status == 429 or status in TRY_AGAIN or 520 <= status <= 530:
        message = f"The proxy before {where} says that Kizy does not answer (HTTP {status})."
        return AwayError(message, _LOOK, raw, sent=status not in NOT_DONE)
    message = f"{where} answered {path} with an error (HTTP {status})."
    return EngineError("server_failed", message, fix=_LOG, raw=raw)


_LOOK = "Look whether `kizy serve` runs there, and whether KIZY_SERVER names its address."
_LOG = "Look into the server's log, and try again."


def unreachable(place: Place, error: BaseException) -> AwayError:
    """From what requests raised: why the server was not reached, in plain words."""
    raw = scrubbed(f"{type(error).__name__}: {error}", place.key)
    causes = list(every_cause(error))
    names = {type(cause).__name__ for cause in causes}
    text = " ".join(str(cause) for cause in causes).lower()
    where = place.url
    if any(isinstance(cause, ssl.SSLError) for cause in causes) or "certificate" in text:
        message = f"No secure connection to {where} could be made: {_tls(text)}."
        fix = "Correct the address; REQUESTS_CA_BUNDLE names authorities of your own."
        return AwayError(message, fix, raw, hopeless=True)
    if any(isinstance(c, socket.gaierror) for c in causes) or "name resolution" in text:
        message = f"No computer of that name is known: {where}."
        fix = "Correct the address, or connect to the server's network."
        return AwayError(message, fix, raw, hopeless=True)
    if any(isinstance(c, ConnectionRefusedError) for c in causes) or "refused" in text:
        return AwayError(f"Nothing answers at {where}: no Kizy server runs there.", _LOOK, raw)
    if names & {"ConnectTimeout", "ConnectTimeoutError", "NewConnectionError"}:
        message = f"{where} cannot be reached: no answer from that computer."
        fix = "Look whether it is on, and whether a firewall stands between."
        return AwayError(message, fix, raw)
    if names & {"ReadTimeout", "ReadTimeoutError", "TimeoutError"}:
        message = f"{where} took the connection but does not answer."
        return AwayError(message, "It may be busy; look into its log.", raw, sent=True)
    return AwayError(f"The connection to {where} broke.", _LOOK, raw, sent=True)


def redirected(place: Place, target: str) -> EngineError:
    """The server sends us elsewhere, where our key must not go."""
    message = f"{place.url} sends us on to {_plain(scrubbed(target, place.key))[:200]}."
    fix = "If that is the server's new address, use it; else log in there."
    return EngineError("server_failed", message, fix=fix)


def not_kizy(place: Place, path: str, said: str) -> EngineError:
    """An answer that is not what a Kizy server gives."""
    raw = scrubbed(f"answer to {path}: {said[:MAX_WORDS]}", place.key)
    if "<html" in said[:MAX_WORDS].lower():
        message = f"{place.url} answers with a web page: a proxy or login stands before Kizy."
        fix = "Use the server's own address, or let the proxy pass requests with a key."
        return EngineError("server_failed", message, fix=fix, raw=raw)
    message = f"{place.url} does not answer {path} as a Kizy server does."
    fix = "Look whether another program uses that port, or update Kizy here."
    return EngineError("server_failed", message, fix=fix, raw=raw)


def stayed_away(place: Place, job_id: str, why: KizyError) -> AwayError:
    """A server that was gone for too long while a job was followed."""
    message = f"{why.message} It has been away for too long; the job is not lost."
    fix = f"When the server is back: kizy jobs watch {job_id}"
    return AwayError(message, fix, why.raw or "", hopeless=True)


def _problem(text: str) -> ErrorInfo | None:
    """Kizy's own words in a problem document."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    code = values.get("code") if isinstance(values, dict) else None
    if not isinstance(code, str) or not code.isidentifier():
        return None
    detail, fix = values.get("detail") or values.get("title"), values.get("fix")
    known = CODES.get(code)
    return ErrorInfo(
        code=code,
        message=str(detail) if detail else (known.meaning if known else code),
        fix=str(fix) if fix else (known.fix if known else "Update Kizy here: it may say more."),
    )


def _nearest(status: int | None) -> type[KizyError]:
    if status == 404 or status == 410:
        return UnknownNameError
    if status == 507:
        return StorageError
    if status is not None and 400 <= status < 500 and status != 429:
        return InputError
    return EngineError


def _plain(text: str) -> str:
    """A server's words as they may go to a terminal."""
    safe = ("?" if unicodedata.category(c)[0] == "C" and c != "\n" else c for c in text)
    return "".join(safe)[:MAX_WORDS]


def _tls(text: str) -> str:
    if "wrong version number" in text or "record layer failure" in text:
        return "it does not speak HTTPS"
    if "expired" in text:
        return "its certificate has expired"
    if "hostname mismatch" in text or "doesn't match" in text or "not valid for" in text:
        return "its certificate is for another name"
    return "its certificate is not signed by an authority known here"
