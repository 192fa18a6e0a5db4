"""`kizy keys`, and what `kizy serve` asks of them."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.orchestrator.jobs.keys import KeyStore, database_of
from kizy.orchestrator.settings import Settings


def test_a_key_is_made_and_told_alone_on_stdout(kizy: Any) -> None:
    made = kizy("keys", "add", "anna")
    assert made.status == 0
    key = KeyStore(database_of(Settings())).find(made.out.strip())
    assert key is not None
    assert (key.name, key.admin) == ("anna", False)
    assert "not shown again" in made.err


def test_keys_are_listed_without_their_words(kizy: Any) -> None:
    words = kizy("keys", "add", "anna", "--admin", "--json").json["key"]
    listed = kizy("keys", "list")
    assert "anna" in listed.out
    assert words not in listed.out
    (key,) = kizy("keys", "list", "--json").json["keys"]
    assert (key["name"], key["admin"], key["used"]) == ("anna", True, None)


def test_a_key_is_withdrawn(kizy: Any) -> None:
    kizy("keys", "add", "anna")
    assert "anna" in kizy("keys", "withdraw", "anna").out
    assert kizy("keys", "list", "--json").json == {"keys": []}
    assert "kizy keys add" in kizy("keys", "list").out


def test_an_unknown_key_is_not_withdrawn(kizy: Any) -> None:
    refused = kizy("keys", "withdraw", "nobody")
    assert (refused.status, "key_unknown" in refused.err) == (2, True)


def test_a_name_that_a_terminal_would_obey_is_refused(kizy: Any) -> None:
    assert kizy("keys", "add", "\x1b[2J").status == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_no_server_that_others_reach_starts_without_any_key(kizy: Any, host: str) -> None:
    refused = kizy("serve", "--host", host, "--port", "0")
    assert (refused.status, "key_missing" in refused.err) == (2, True)
    assert "kizy keys add" in refused.err


def test_an_address_that_is_none_of_this_machine_is_told(kizy: Any) -> None:
    kizy("keys", "add", "anna")
    refused = kizy("serve", "--host", "192.0.2.1")
    assert (refused.status, "address_unusable" in refused.err) == (2, True)
