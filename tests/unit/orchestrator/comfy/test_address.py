"""Addresses come in many spellings and leave in one."""

from __future__ import annotations

import pytest
from kizy.core.errors import InputError
from kizy.orchestrator.engines.comfy.address import Address, same_place


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8188", "http://127.0.0.1:8188"),
        ("http://127.0.0.1:8188/", "http://127.0.0.1:8188"),
        ("gpu-box", "http://gpu-box:8188"),
        ("gpu-box:9000", "http://gpu-box:9000"),
        ("http://gpu-box", "http://gpu-box"),
        ("https://Gpu.Example.org/comfy/", "https://gpu.example.org/comfy"),
        ("wss://gpu.example.org", "https://gpu.example.org"),
        ("ws://10.0.0.2:81", "http://10.0.0.2:81"),
        ("http://[::1]:8188", "http://[::1]:8188"),
        (" 10.0.0.2 ", "http://10.0.0.2:8188"),
    ],
)
def test_every_spelling_leads_to_one_url(given: str, url: str) -> None:
    assert Address("a", given).url == url


def test_localhost_is_never_asked_for_by_name() -> None:
    assert Address("a", "localhost").url == "http://127.0.0.1:8188"
    assert Address("a", "http://localhost:9/x").url == "http://127.0.0.1:9/x"


@pytest.mark.parametrize(
    "given",
    ["", "http://", "ftp://x", "http://x:port", "http://a b", "http://x/?y=1", "http://[::"],
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InputError) as caught:
        Address("a", given)
    assert caught.value.code == "settings_invalid"


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        Address("a", "https://me:secret@gpu.example.org")
    assert "secret" not in str(caught.value) + caught.value.fix


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(Address("a", "http://x", "secret"))


@pytest.mark.parametrize("key", ["a\nb", "a b", "schlüssel"])
def test_a_key_that_fits_no_header_is_refused(key: str) -> None:
    with pytest.raises(InputError) as caught:
        Address("a", "http://x", key)
    assert key not in str(caught.value)


def test_an_empty_key_is_none() -> None:
    assert Address("a", "http://x", " ").key is None


def test_the_socket_has_the_same_place_and_security() -> None:
    address = Address("a", "https://gpu.example.org/comfy")
    assert address.socket_url("id 1") == "wss://gpu.example.org/comfy/ws?clientId=id+1"
    assert Address("a", "http://x:1").socket_url("i") == "ws://x:1/ws?clientId=i"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://x/a", "http://X:80/b", True),
        ("http://x", "https://x", False),
        ("http://x:1", "http://x:2", False),
        ("http://x", "http://x.evil.org", False),
    ],
)
def test_a_place_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert same_place(one, other) is same
