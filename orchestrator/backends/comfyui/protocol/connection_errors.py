"""Why a server was not reached or does not answer as ComfyUI does, in plain words. Pure.

From exceptions of requests and websocket-client, and from HTTP statuses, to EngineError.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING

from .....core.comfyui_address import Address
from .....core.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_RAW = 20_000


class AnswerLostError(EngineError):
    """Not reached any more (code `server_unreachable`), when the request may have arrived."""


class SilentError(AnswerLostError):
    """It took the connection and said nothing in time (code `server_unreachable`)."""


class NothingListensError(EngineError):
    """That computer refuses connections (code `server_unreachable`): ComfyUI does not run there."""


class FileGoneError(EngineError):
    """A job ended, but a file that it made is there no more (code `server_failed`)."""


def scrubbed(text: str, *secrets: str | None) -> str:
    """`text` without these and without anything that looks like one, cut to a sane length."""
    # The longest first: one may be a part of another.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "[key]")
    text = text[: 2 * _MAX_RAW]
    text = re.sub(r"(?i)\b(bearer|basic)\s+[^\s\"',}]+", r"\1 [key]", text)
    text = re.sub(
        r"(?i)((?:api[_-]?key|auth[_-]?token|token|password|authorization)\w*[\"']?\s*[:=]\s*)"
        r"(\"[^\"]*\"|'[^']*'|[^\s,;&}]+)",
        r"\1[key]",
        text,
    )
    return text if len(text) <= _MAX_RAW else text[:_MAX_RAW] + " …"


def unreachable(address: Address, error: BaseException) -> EngineError:
    """From what requests or websocket-client raised: why the server was not reached."""
    raw = scrubbed(f"{type(error).__name__}: {error}", *address.secrets)
    where = f"{address.name} ({address.url})"
    causes = list(every_cause(error))
    text = " ".join(str(cause) for cause in causes).lower()
    if any(isinstance(c, ssl.SSLError) for c in causes) or "certificate verify failed" in text:
        message, fix = _tls(where, text)
        return EngineError("server_unreachable", message, fix=fix, raw=raw)
    if any(isinstance(c, socket.gaierror) for c in causes) or "name resolution" in text:
        message = f"No computer of that name is known: {where}."
        fix = "Correct the server's address in kizy.toml, or connect to its network."
        return EngineError("server_unreachable", message, fix=fix, raw=raw)
    if any(isinstance(c, ConnectionRefusedError) for c in causes) or "refused" in text:
        message = f"Nothing answers at {where}: ComfyUI does not run there."
        return NothingListensError("server_unreachable", message, raw=raw)
    names = {type(cause).__name__ for cause in causes}
    if names & {"ConnectTimeout", "ConnectTimeoutError", "NewConnectionError"}:
        message = f"{where} cannot be reached: no answer from that computer."
        fix = "Look whether it is on, and whether a firewall stands between."
        return EngineError("server_unreachable", message, fix=fix, raw=raw)
    if names & {"ReadTimeout", "ReadTimeoutError", "TimeoutError", "WebSocketTimeoutException"}:
        message = f"{where} took the connection but does not answer."
        fix = "It may be busy or hang; look into its log, and restart ComfyUI there if it hangs."
        return SilentError("server_unreachable", message, fix=fix, raw=raw)
    message = f"The connection to {where} broke."
    return AnswerLostError("server_unreachable", message, raw=raw)


def every_cause(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all it came from; urllib3 puts them into `reason` and `args`."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__, getattr(current, "reason", None)]
        waiting += list(current.args)


def _tls(where: str, text: str) -> tuple[str, str]:
    if "wrong version number" in text or "record layer failure" in text:
        return f"{where} does not speak HTTPS.", "Write http:// in place of https:// in kizy.toml."
    if "self-signed" in text or "self signed" in text or "unable to get local issuer" in text:
        fix = "Name the authority's file in the environment variable REQUESTS_CA_BUNDLE."
        return f"The certificate of {where} is not signed by an authority known here.", fix
    if "hostname mismatch" in text or "doesn't match" in text or "not valid for" in text:
        return f"The certificate of {where} is for another name.", "Use the certificate's name."
    if "expired" in text:
        return f"The certificate of {where} has expired.", "Renew it there."
    return f"No secure connection to {where} could be made.", "Look at the certificate there."


def refused_status(address: Address, path: str, status: int, body: str) -> EngineError:
    """From an HTTP status that is no success: what it means for a ComfyUI server."""
    where = f"{address.name} ({address.url})"
    raw = scrubbed(f"HTTP {status} for {path}: {body[:2000]}", *address.secrets)
    if status in (401, 403, 407):
        said = _said_to(address)
        return EngineError("server_refused", f"{where} {said}.", raw=raw)
    if status in (404, 405):
        message = f"{where} has no {path}: it is no ComfyUI, or a very old one."
        return EngineError("server_too_old", message, raw=raw)
    if status == 413:
        message = f"{where} takes no file of that size."
        fix = "Use a smaller picture, or start ComfyUI there with a larger --max-upload-size."
        return EngineError("server_failed", message, fix=fix, raw=raw)
    if status == 507 or "no space left on device" in body.lower():
        return EngineError("server_disk_full", f"The disk of {where} is full.", raw=raw)
    if status in (429, 502, 503, 504) or 520 <= status <= 530:
        message = f"The proxy before {where} says that ComfyUI does not answer (HTTP {status})."
        return EngineError("server_unreachable", message, raw=raw)
    message = f"{where} answered {path} with an error (HTTP {status})."
    return EngineError("server_failed", message, raw=raw)


def _said_to(address: Address) -> str:
    if address.login:
        return "refused the user name or the password"
    return "refused the key" if address.secrets else "wants a key, or a user name and a password"


def redirected(address: Address, target: str) -> EngineError:
    """The server sends elsewhere, where our key must not go."""
    where = f"{address.name} ({address.url})"
    message = f"{where} sends us on to {scrubbed(target, *address.secrets)[:200]}."
    fix = "If that is the server's new address, write it into kizy.toml; else log in there."
    return EngineError("server_unreachable", message, fix=fix)


def malformed(address: Address, path: str, body: str) -> EngineError:
    """An answer that is no JSON, or not the JSON that belongs there."""
    where = f"{address.name} ({address.url})"
    raw = scrubbed(f"answer to {path}: {body[:2000]}", *address.secrets)
    if "<html" in body[:2000].lower() or "<!doctype" in body[:200].lower():
        message = f"{where} answers with a web page: a proxy or login stands before ComfyUI."
        fix = "Use ComfyUI's own address, or let the proxy pass requests with a key."
        return EngineError("server_failed", message, fix=fix, raw=raw)
    message = f"{where} does not answer {path} as ComfyUI does."
    fix = "Look whether another program uses that port."
    return EngineError("server_failed", message, fix=fix, raw=raw)


def too_long(address: Address, path: str, limit: int) -> EngineError:
    """An answer of more than `limit` bytes."""
    message = f"{address.name} ({address.url}) answers {path} with over {limit // 1_000_000} MB."
    return EngineError("server_failed", message, fix="Look whether another program uses that port.")
