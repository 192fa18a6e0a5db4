"""Choosing by meaning, with meanings made by hand; and the second opinion of a language model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
from kizy.catalog.card import Card
from kizy.catalog.search.evidence import BY_MEANING
from kizy.catalog.search.rerank import Reranker, numbers_in
from kizy.catalog.search.select import Library, select


@dataclass(frozen=True)
class Rows:
    keys: Sequence[str]
    vectors: np.ndarray


def towards(axis: int, nearness: float = 1.0) -> np.ndarray:
    """A unit vector so near to an axis; the rest lies along the last axis."""
    vector = np.zeros(384, np.float32)
    vector[axis], vector[-1] = nearness, (1 - nearness**2) ** 0.5
    return vector


CARDS = [
    Card(key="a", name="vntgscooter", family="sdxl", kind="subject", about="Italian two-wheelers"),
    Card(key="b", name="pprquill", family="sdxl", kind="style", about="Strips, rolled"),
]
ROWS = Rows(["a", "a", "b"], np.stack([towards(0), towards(5), towards(1)]))


def about_axis(axis: int, nearness: float = 0.95) -> Any:
    return lambda texts: np.stack([towards(axis, nearness) for _ in texts])


def test_a_wish_without_a_common_word_is_met_by_meaning() -> None:
    library = Library.of(CARDS, ROWS)
    choice = select("moped of a teenager", "sdxl", library, meaning_of=about_axis(0))
    assert [picked.card.key for picked in choice.picked] == ["a"]
    assert not choice.by_words_only
    assert '"moped of a teenager"' in choice.picked[0].why


def test_a_large_library_of_which_little_is_learnt_yet_is_chosen_from() -> None:
    many = [Card(key=f"n{i}", name=f"zz{i}", family="sdxl") for i in range(3 * BY_MEANING)]
    library = Library.of([*CARDS, *many], ROWS)
    choice = select("moped of a teenager", "sdxl", library, meaning_of=about_axis(0))
    assert [picked.card.key for picked in choice.picked] == ["a"]


def test_each_text_of_a_card_counts() -> None:
    library = Library.of(CARDS, ROWS)
    choice = select("moped of a teenager", "sdxl", library, meaning_of=about_axis(5))
    assert [picked.card.key for picked in choice.picked] == ["a"]


def test_what_is_only_faintly_near_is_not_picked() -> None:
    library = Library.of(CARDS, ROWS)
    choice = select("moped of a teenager", "sdxl", library, meaning_of=about_axis(0, 0.3))
    assert choice.picked == ()


def test_cards_whose_meaning_is_not_known_yet_are_found_by_words() -> None:
    library = Library.of(CARDS, Rows(["b"], towards(1)[None]))
    choice = select("rolled paper, vntgscooter", "sdxl", library, meaning_of=about_axis(3))
    assert "a" in [picked.card.key for picked in choice.picked]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.append(self.headers.get("Authorization"))  # type: ignore[attr-defined]
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def language_model(status: int, body: bytes) -> Iterator[tuple[str, list[str | None]]]:
    """A server that always answers so: its address, and the keys that it was sent."""
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    server.answer = (status, body)  # type: ignore[attr-defined]
    server.keys = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", server.keys  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def saying(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


FOXES = [
    Card(key=key, name=f"fox_{key}", family="sdxl", kind="subject", about=about, tags=("fox",))
    for key, about in (("a", "red fox"), ("b", "a fox, arctic"), ("c", "fox cubs"))
]


def reranked(address: str, prompt: str = "a fox") -> Any:
    rerank = Reranker(address, "some-model", key="secret", seconds=2)
    return select(prompt, "sdxl", Library.of(FOXES), meaning_of=None, max_loras=1, rerank=rerank)


def first_numbered(number: int) -> str:
    """The card that is the number-th (from 1) without a second opinion."""
    from kizy.catalog.search.parsed_prompt import parse_wish
    from kizy.catalog.search.search_index import Scope
    from kizy.catalog.search.select import judge

    library = Library.of(FOXES)
    found = judge(parse_wish("a fox"), library, "sdxl", library.allowed(Scope()), None)
    return library.cards[found[number - 1].at].key


def test_a_second_opinion_changes_the_order() -> None:
    with language_model(200, saying("Best is [3].")) as (address, keys):
        choice = reranked(address)
    assert choice.picked[0].card.key == first_numbered(3)
    assert keys == ["Bearer secret"]


def test_a_second_opinion_that_nothing_fits_counts() -> None:
    with language_model(200, saying("[]")) as (address, _):
        assert reranked(address).picked == ()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"oops"),
        (302, b""),
        (200, b"not json"),
        (200, b"{}"),
        (200, saying("I would take the first.")),
        (200, saying("[99]")),
        (200, b"x" * 300_000),
    ],
)
def test_a_useless_second_opinion_changes_nothing_but_a_notice(status: int, body: bytes) -> None:
    with language_model(status, body) as (address, _):
        choice = reranked(address)
    assert choice.picked[0].card.key == first_numbered(1)
    assert len(choice.notices) == 1


def test_a_server_that_is_not_there_changes_nothing() -> None:
    choice = reranked("http://127.0.0.1:9/v1")
    assert choice.picked[0].card.key == first_numbered(1)
    assert len(choice.notices) == 1


def test_a_key_is_never_shown() -> None:
    assert "secret" not in repr(Reranker("http://x", "m", key="secret"))


def test_only_numbers_of_the_list_count() -> None:
    assert numbers_in("[2, 2, 1, 77]", 3) == [1, 0]
    assert numbers_in('{"pick": [1]}', 3) == [0]
    assert numbers_in("[0]", 3) is None
    assert numbers_in("none", 3) is None
