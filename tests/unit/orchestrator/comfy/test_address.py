"""Addresses come in many spellings and leave in one."""

from __future__ import annotations

import pytest
from kizy.core.comfyui_address import Address, same_place
from kizy.core.errors import InputError


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


def test_localhost_is_asked_for_by_its_addresses_the_older_one_first() -> None:
    assert Address("a", "localhost").urls == ("http://127.0.0.1:8188", "http://[::1]:8188")
    there = Address("a", "https://localhost:9/x")
    assert there.urls == ("https://127.0.0.1:9/x", "https://[::1]:9/x")
    assert Address("a", "127.0.0.1").urls == ("http://127.0.0.1:8188",)


@pytest.mark.parametrize(
    "given",
    [
        *("", "http://", "ftp://x", "http://x:port", "http://a b", "http://[::"),
        *("http://x/?y=1", "http://x/?token=", "http://x/?token=a&y=1", "http://x/#a"),
    ],
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InputError) as caught:
        Address("a", given)
    assert caught.value.code == "settings_invalid"


@pytest.mark.parametrize(
    "given", ["https://me:hunter2@x y", "me:hunter2@x:port", "ftp://a:hunter2@x"]
)
def test_a_password_in_what_is_no_address_is_not_repeated(given: str) -> None:
    with pytest.raises(InputError) as caught:
        Address("a", given)
    assert "hunter2" not in str(caught.value) + caught.value.fix


def test_a_user_name_and_a_password_in_the_address_are_sent_and_not_shown() -> None:
    address = Address("a", "https://me:hun%40ter2@gpu.example.org/comfy")
    assert address.url == "https://gpu.example.org/comfy"
    assert address.login == ("me", "hun@ter2")
    assert address.authorization == "Basic bWU6aHVuQHRlcjI="
    assert "hun" not in repr(address) and "bWU6" not in repr(address)


def test_a_token_in_the_address_goes_with_every_request_and_is_not_shown() -> None:
    address = Address("a", "http://gpu.example.org:81/?token=s%2Fecret")
    assert address.url == "http://gpu.example.org:81"
    assert address.socket_url("i") == "ws://gpu.example.org:81/ws?clientId=i&token=s%2Fecret"
    assert "ecret" not in repr(address)
    assert {"s/ecret", "token=s%2Fecret"} <= set(address.secrets)


def test_one_request_has_no_room_for_a_key_and_a_password() -> None:
    with pytest.raises(InputError) as caught:
        Address("a", "http://me:hunter2@x", "secret")
    assert caught.value.code == "settings_invalid"


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
