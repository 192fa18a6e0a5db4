"""Captions from a vision model behind an OpenAI-compatible address (vLLM, Ollama ...)."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from ..core.picture_reader import scaled_down
from .captions import CaptionFailed, one_line
from .limits import stop_if
from .pictures import on_grey

SIDE = 768
"""Longest side, in pixels, of the picture that is sent."""

_LONGEST = 600
_MOST_TOKENS = 200
_LARGEST_ANSWER = 1_000_000
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_QUESTION = (
    "Describe this picture for training an image model. One sentence of at most 40 words: what is "
    "seen, where, from which side, doing what, in which light and colours. Begin with the thing "
    "itself. No opinion, no guess at names, no introduction."
)
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True)
class Waits:
    """Seconds: to connect, for an answer, before each further try."""

    connect: float = 10.0
    answer: float = 120.0
    again: tuple[float, ...] = (2.0, 8.0)
    longest: float = 30.0


@dataclass(frozen=True)
class VisionEndpoint:
    """`url`: up to and with "/v1"; `key`: bearer token, sent to this address alone."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    waits: Waits = Waits()

    def caption(self, picture: Path, hint: str, cancelled: Callable[[], bool]) -> str:
        """One sentence. Raises CaptionFailed, CancelledError."""
        question = f"{_QUESTION} It belongs to pictures of: {hint}." if hint else _QUESTION
        content = [
            {"type": "text", "text": question},
            {"type": "image_url", "image_url": {"url": _data_uri(picture)}},
        ]
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": _MOST_TOKENS,
            "temperature": 0,
        }
        for wait in (*self.waits.again, None):
            stop_if(cancelled)
            answer = self._asked(body, last=wait is None)
            if answer is not None:
                return _sentence(answer)
            if wait is not None:
                _pause(wait, cancelled)
        raise AssertionError("the last try returns or raises")

    def _asked(self, body: dict[str, Any], *, last: bool) -> Any:
        """The answer as JSON; None if it is worth another try."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            with requests.post(
                f"{self.url.rstrip('/')}/chat/completions",
                json=body,
                headers=headers,
                timeout=(self.waits.connect, self.waits.answer),
                # The key must not follow to another address.
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code in _AGAIN and not last:
                    return None
                if response.status_code != 200:
                    refused = response.status_code not in _AGAIN
                    why = f"the caption server answered with status {response.status_code}"
                    raise CaptionFailed(why, for_good=refused)
                return _json(_bounded(response))
        except requests.RequestException as error:
            if last:
                raise CaptionFailed("the caption server does not answer") from error
            return None


def _bounded(response: requests.Response) -> bytes:
    found = b""
    for block in response.iter_content(1 << 16):
        found += block
        if len(found) > _LARGEST_ANSWER:
            raise CaptionFailed("the caption server's answer does not end", for_good=True)
    return found


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise CaptionFailed("the caption server answered with no JSON") from error


def _sentence(answer: Any) -> str:
    """What the model said, without marks around it. Raises CaptionFailed."""
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise CaptionFailed("the caption server's answer holds no caption") from error
    if not isinstance(text, str):
        raise CaptionFailed("the caption server's answer holds no caption")
    plain = one_line(_THOUGHT.sub(" ", text), _LONGEST).strip(" \"'*_`“”")
    if not plain:
        raise CaptionFailed("the caption server gave an empty caption")
    return plain.rstrip(".")


def _data_uri(path: Path) -> str:
    with Image.open(path) as picture:
        small = scaled_down(on_grey(picture), SIDE)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _pause(seconds: float, cancelled: Callable[[], bool]) -> None:
    never_set = threading.Event()
    while seconds > 0:
        stop_if(cancelled)
        never_set.wait(min(seconds, 0.2))
        seconds -= 0.2
