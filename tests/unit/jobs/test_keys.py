"""Keys of a server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from kizy.core.errors import InputError, UnknownNameError
from kizy.orchestrator.jobs.database import Database, sqlite_url
from kizy.orchestrator.jobs.keys import USED_SECONDS, KeyStore, database_of
from kizy.orchestrator.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[KeyStore]:
    with contextlib.closing(Database(database_url)) as database:
        yield KeyStore(database, now=clock)


def test_a_key_is_found_by_its_words(store: KeyStore) -> None:
    key, words = store.add("anna", admin=True)
    found = store.find(words)
    assert found is not None
    assert (found.id, found.name, found.admin) == (key.id, "anna", True)


def test_the_words_are_told_once_and_kept_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    store = KeyStore(Database(sqlite_url(path)))
    key, words = store.add("anna")
    assert words.startswith("kizy_")
    assert len(words) > 40
    assert words not in repr((key, store.list()))
    written = b"".join(file.read_bytes() for file in tmp_path.glob("jobs.sqlite*"))
    assert b"anna" in written
    assert words.encode() not in written


def test_no_two_keys_are_alike(store: KeyStore) -> None:
    assert len({store.add("anna")[1] for _ in range(20)}) == 20


@pytest.mark.parametrize("words", ["", "kizy_", "anna", "kizy_ü", "\ud800", "x" * 10_000])
def test_other_words_open_nothing(store: KeyStore, words: str) -> None:
    store.add("anna")
    assert store.find(words) is None


def test_a_key_is_withdrawn_by_its_id(store: KeyStore) -> None:
    (first, words), (_, others) = store.add("anna"), store.add("anna")
    assert [key.id for key in store.withdraw(first.id)] == [first.id]
    assert store.find(words) is None
    assert store.find(others) is not None


def test_all_keys_of_a_name_are_withdrawn(store: KeyStore) -> None:
    for name in ("anna", "anna", "ben"):
        store.add(name)
    assert len(store.withdraw("anna")) == 2
    assert [key.name for key in store.list()] == ["ben"]


def test_what_is_no_key_is_not_withdrawn(store: KeyStore) -> None:
    store.add("anna")
    store.withdraw("anna")
    for name in ("anna", "ben"):
        with pytest.raises(UnknownNameError) as refused:
            store.withdraw(name)
        assert refused.value.code == "key_unknown"


def test_whether_there_is_any(store: KeyStore) -> None:
    assert not store.any()
    store.add("anna")
    assert store.any()
    store.withdraw("anna")
    assert not store.any()


def test_when_a_key_was_used_is_told_now_and_then(store: KeyStore, clock: Clock) -> None:
    _, words = store.add("anna")
    assert store.list()[0].used is None
    used = []
    for pause in (0.0, USED_SECONDS / 2, USED_SECONDS):
        clock.time += pause
        store.find(words)
        (key,) = store.list()
        assert key.used is not None
        used.append(key.used.timestamp())
    assert used[0] == used[1] < used[2] == clock.time


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb\0", "\x1b[31m"])
def test_a_name_that_is_none_is_refused(store: KeyStore, name: str) -> None:
    with pytest.raises(InputError):
        store.add(name)


def test_keys_lie_in_the_servers_database(kizy_home: Path) -> None:
    database_of(Settings()).close()
    assert (kizy_home / "jobs.sqlite").is_file()
