"""Addresses of Kizy servers, however they are written."""

from __future__ import annotations

import pytest
from kizy.core.errors import InputError
from kizy.orchestrator.sdk.remote.server_address import is_here, own_place, place
from kizy.orchestrator.settings import ServeSettings


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("http://127.0.0.1:7433", "http://127.0.0.1:7433"),
        ("http://localhost:9000/", "http://127.0.0.1:9000"),
        (" gpu1 ", "http://gpu1:7433"),
        ("gpu1:80", "http://gpu1:80"),
        ("https://draw.example.org", "https://draw.example.org"),
        ("https://example.org/kizy/", "https://example.org/kizy"),
        ("http://[::1]:7433", "http://[::1]:7433"),
    ],
)
def test_an_address_is_brought_into_one_form(given: str, wanted: str) -> None:
    assert place(given).url == wanted


def test_localhost_is_asked_for_by_ipv6_as_well() -> None:
    assert place("http://localhost:9000/kizy").also == "http://[::1]:9000/kizy"
    assert place("http://127.0.0.1:9000").also is None


@pytest.mark.parametrize(
    "given",
    ["", "ftp://x", "http://", "http://a b", "http://x/?a=b", "http://x:port", "http://a:b@c"],
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InputError) as refused:
        place(given)
    assert refused.value.code == "settings_invalid"


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(InputError) as refused:
        place("http://me:hunter2@x")
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize("key", ["a b", "schlüssel", "a\nb", "a\x00b"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InputError) as refused:
        place("http://x", key)
    assert key not in refused.value.message


def test_an_empty_key_is_none() -> None:
    assert place("http://x", " ").key is None


def test_the_key_is_not_in_what_is_printed() -> None:
    assert "secret" not in repr(place("http://x", "secret"))


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("127.0.0.1", "http://127.0.0.1:9"),
        ("0.0.0.0", "http://127.0.0.1:9"),
        ("::", "http://127.0.0.1:9"),
        ("::1", "http://[::1]:9"),
        ("192.168.0.5", "http://192.168.0.5:9"),
    ],
)
def test_the_server_of_this_machine_is_called_where_it_listens(host: str, wanted: str) -> None:
    assert own_place(ServeSettings(host=host, port=9)).url == wanted


def test_this_machine_is_known_by_its_address() -> None:
    assert is_here("http://127.0.0.1:1") and is_here("http://[::1]:1")
    assert not is_here("http://gpu1:1") and not is_here("http://10.0.0.1:1")
