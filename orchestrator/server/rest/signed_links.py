"""Links to finished files that open without a key, for one file and for a while.

Signed when somebody who may see the file asks for it. A link says until when it holds; both are
under an HMAC-SHA256 (RFC 2104) with a secret of the server's, so that it opens nothing else and
not for longer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode

from .responses import artifact_path

_PATH = re.compile(re.escape(artifact_path("")) + "([0-9a-f]{64})")
_MOMENT = re.compile("[0-9]{1,12}")


class FileLinks:
    """`secret`: of at least 32 bytes; None: one that ends with this process. `hours`: how long."""

    def __init__(
        self,
        secret: bytes | None = None,
        hours: float = 24.0,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret or secrets.token_bytes(32)
        self._seconds, self._now = hours * 3600, now

    def path(self, artifact_id: str) -> str:
        """The path of a file that whoever asks may see, with its signature."""
        until = int(self._now() + self._seconds)
        signature = self._signature(artifact_id, until)
        return f"{artifact_path(artifact_id)}?{urlencode({'until': until, 'signature': signature})}"

    def opens(self, method: str, path: str, query: bytes) -> bool | None:
        """Whether a request is one for a signed link that holds; None: for another thing."""
        found = _PATH.fullmatch(path)
        if found is None or b"signature=" not in query:
            return None
        values = parse_qs(query.decode("latin-1"))
        until, signature = values.get("until", []), values.get("signature", [])
        if len(until) != 1 or len(signature) != 1 or _MOMENT.fullmatch(until[0]) is None:
            return False
        right = self._signature(found[1], int(until[0]))
        same = hmac.compare_digest(right.encode(), signature[0].encode("utf-8", "replace"))
        return same and self._now() < int(until[0]) and method in ("GET", "HEAD")

    def _signature(self, artifact_id: str, until: int) -> str:
        said = f"kizy file {artifact_id} until {until}"
        made = hmac.new(self._secret, said.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).decode().rstrip("=")
