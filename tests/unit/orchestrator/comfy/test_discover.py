"""Which servers there are, and by which name one is meant."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import UnknownNameError
from kizy.orchestrator.backends.comfyui.launcher import pids
from kizy.orchestrator.backends.comfyui.launcher import server_records as records
from kizy.orchestrator.backends.comfyui.launcher.discover import (
    HERE,
    discover,
    find_server,
    start_options,
)
from kizy.orchestrator.settings import Settings, load_settings

STUDIO = '[[servers]]\nname = "Studio"\nurl = "https://gpu.example.org"\nkey = "secret"\n'


@pytest.fixture
def settings(kizy_home: Path) -> Callable[[str], Settings]:
    def written(text: str) -> Settings:
        (kizy_home / "kizy.toml").write_text(text)
        return load_settings()

    return written


def started_by_kizy(port: int) -> None:
    """This very process stands for a ComfyUI that Kizy started."""
    here = records.ProcessRecord.of(pids.identify(os.getpid()))
    server = records.ServerRecord(port=port, device="cpu", state="ready", process=here)
    fleet = records.Fleet(owner=here, detached=True, folder="x", servers=(server,))
    records.write_fleet(fleet, records.comfyui_home())


def nobody(address: Address) -> bool:
    raise AssertionError(f"{address} was asked")


def test_servers_that_are_set_are_taken_unasked(settings: Callable[[str], Settings]) -> None:
    found = discover(settings(STUDIO), is_comfyui=nobody)
    assert [(x.name, x.key) for x in found] == [("Studio", "secret")]


def test_those_that_kizy_started_are_added(settings: Callable[[str], Settings]) -> None:
    started_by_kizy(9000)
    found = discover(settings(STUDIO), is_comfyui=nobody)
    assert [x.url for x in found] == ["https://gpu.example.org", "http://127.0.0.1:9000"]


def test_one_that_is_set_and_started_is_listed_once(settings: Callable[[str], Settings]) -> None:
    started_by_kizy(9000)
    found = discover(settings('[[servers]]\nurl = "localhost:9000"\n'), is_comfyui=nobody)
    assert [x.url for x in found] == ["http://127.0.0.1:9000"]


def test_without_any_one_on_this_machine_is_found(settings: Callable[[str], Settings]) -> None:
    assert discover(settings(""), is_comfyui=lambda address: True) == [HERE]
    assert discover(settings(""), is_comfyui=lambda address: False) == []


@pytest.mark.parametrize("name", ["studio", "https://gpu.example.org/"])
def test_a_server_is_found_by_name_or_address(
    settings: Callable[[str], Settings], name: str
) -> None:
    assert find_server(name, settings(STUDIO)).key == "secret"


def test_an_address_that_is_not_set_is_taken_as_it_is(
    settings: Callable[[str], Settings],
) -> None:
    assert find_server("10.0.0.3", settings(STUDIO)) == Address(
        "10.0.0.3:8188", "http://10.0.0.3:8188"
    )


@pytest.mark.parametrize("name", ["studoi", "ftp://x"])
def test_a_name_of_no_server_is_refused(settings: Callable[[str], Settings], name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_server(name, settings(STUDIO))
    assert caught.value.code == "server_unknown"
    assert "Studio" in caught.value.message or "ftp" in caught.value.message


def test_without_a_folder_kizy_starts_none(settings: Callable[[str], Settings]) -> None:
    assert start_options(settings("")) is None


def test_the_folder_and_how_to_start_it_come_from_the_settings(
    settings: Callable[[str], Settings],
) -> None:
    options = start_options(settings('[comfyui]\nfolder = "/c"\ngpus = [1]\nport = 9000\n'))
    assert options is not None
    assert (options.folder, options.gpus, options.port) == (Path("/c"), (1,), 9000)
