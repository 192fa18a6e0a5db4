"""ComfyUIs that Kizy starts and watches over, in this process or in the background."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import EngineError, KizyError
from kizy.orchestrator.backends.comfyui.launcher import pids, process, users
from kizy.orchestrator.backends.comfyui.launcher import server_records as records
from kizy.orchestrator.backends.comfyui.launcher import supervisor as supervise
from kizy.orchestrator.backends.comfyui.launcher.managed_servers import ManagedServers, Options
from kizy.orchestrator.backends.comfyui.launcher.process import (
    ComfyProcess,
    port_is_free,
)
from kizy.orchestrator.backends.comfyui.launcher.users import User

from tests.fakes.standin import LIMIT, QUICK, SOON, Standin, launch, pid_of, until


@pytest.fixture
def comfyui(tmp_path: Path) -> Standin:
    return Standin(tmp_path / "Comfy UI")


@pytest.fixture
def managed(comfyui: Standin) -> Iterator[Callable[..., ManagedServers]]:
    made: list[ManagedServers] = []

    def make(options: Options | None = None, **changes: Any) -> ManagedServers:
        values: dict[str, Any] = {"waits": QUICK, "rules": SOON}
        made.append(ManagedServers(options or comfyui.options(), **(values | changes)))
        return made[-1]

    yield make
    for servers in made:
        servers.stop()


# Ports


def test_a_port_that_something_holds_is_passed_over(
    comfyui: Standin, managed: Callable[..., ManagedServers]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        [address] = managed(comfyui.options(port=port)).start()
    assert address.url != f"http://127.0.0.1:{port}"


def test_a_port_that_is_taken_at_the_last_moment_is_left(
    comfyui: Standin, managed: Callable[..., ManagedServers]
) -> None:
    comfyui.behave(dies="[Errno 98] bind on address: address already in use")
    said: list[str] = []
    with pytest.raises(EngineError) as caught:
        managed(say=said.append).start()
    assert caught.value.code == "comfyui_not_started"
    tries = [line for line in said if line.startswith("Starting ComfyUI")]
    assert len(set(tries)) == 2


# Several, watched


def test_two_gpus_have_two_servers(
    comfyui: Standin, managed: Callable[..., ManagedServers]
) -> None:
    servers = managed(comfyui.options(gpus=(0, 1)))
    addresses = servers.start()
    assert len({address.url for address in addresses}) == 2
    assert addresses == servers.addresses()
    assert [x.device for x in records.running_servers()] == ["cuda:0", "cuda:1"]


def test_when_it_stops_all_it_started_ends(managed: Callable[..., ManagedServers]) -> None:
    servers = managed()
    servers.start()
    known = pids.identify(pid_of())
    servers.stop()
    assert pids.is_running(known) is False
    assert records.read_fleet() is None


def test_comfyui_is_never_started_twice(managed: Callable[..., ManagedServers]) -> None:
    first, second = managed(), managed()
    assert first.start() == second.start()
    assert (first.is_owner, second.is_owner) == (True, False)
    second.stop()
    assert len(records.running_servers()) == 1


def test_two_at_once_start_one(managed: Callable[..., ManagedServers]) -> None:
    found: list[list[Address]] = []
    all_four = [managed() for _ in range(4)]

    def start(servers: ManagedServers) -> None:
        found.append(servers.start())

    threads = [threading.Thread(target=start, args=[servers]) for servers in all_four]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(found) == 4 and all(addresses == found[0] for addresses in found)


def left_behind(comfyui: Standin) -> ComfyProcess:
    """A ComfyUI that runs, of an owner that does not."""
    left = ComfyProcess.start(launch(comfyui))
    left.wait_ready(QUICK)
    gone = records.ProcessRecord(pid=os.getpid(), started="long ago")
    record = records.ServerRecord(
        port=left.launch.port,
        device="cpu",
        state="ready",
        process=records.ProcessRecord.of(left.id),
    )
    fleet = records.Fleet(owner=gone, detached=True, folder="x", servers=(record,))
    records.write_fleet(fleet, records.comfyui_home())
    return left


def test_what_a_killed_owner_left_is_used(comfyui: Standin) -> None:
    left = left_behind(comfyui)
    assert [server.address for server in records.running_servers()] == [left.launch.address]
    left.stop(QUICK)
    assert records.running_servers() == []


def test_what_a_killed_owner_left_is_ended_before_a_start(
    comfyui: Standin, managed: Callable[..., ManagedServers]
) -> None:
    left = left_behind(comfyui)
    managed().start()
    until(lambda: not left.is_running())


def test_what_a_killed_owner_left_can_be_stopped(comfyui: Standin) -> None:
    left = left_behind(comfyui)
    assert supervise.stop_all(waits=QUICK) is True
    until(lambda: not left.is_running())


def test_a_stranger_with_the_number_of_ours_is_left_alone(
    managed: Callable[..., ManagedServers],
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as stranger:
        known = records.ProcessRecord(pid=stranger.pid, started="long ago")
        record = records.ServerRecord(port=1, device="cpu", state="ready", process=known)
        fleet = records.Fleet(owner=known, detached=True, folder="x", servers=(record,))
        records.write_fleet(fleet, records.comfyui_home())
        assert records.running_servers() == []
        assert supervise.stop_all(waits=QUICK) is False
        records.write_fleet(fleet, records.comfyui_home())
        managed().start()
        assert stranger.poll() is None
        stranger.communicate(b"\n", timeout=LIMIT)


def test_a_start_that_fails_leaves_nothing_behind(
    comfyui: Standin, managed: Callable[..., ManagedServers]
) -> None:
    comfyui.behave(dies="over")
    with pytest.raises(EngineError) as caught:
        managed().start()
    assert caught.value.code == "comfyui_not_started"
    assert records.read_fleet() is None
    comfyui.behave()
    assert len(managed().start()) == 1


def test_one_that_dies_is_started_again_on_its_port(
    comfyui: Standin, managed: Callable[..., ManagedServers]
) -> None:
    servers = managed()
    before, number = servers.start(), pid_of()
    comfyui.behave(ends=True)
    servers.look()
    comfyui.behave()
    servers.watch_in_background()
    until(lambda: servers.addresses() and pid_of() != number)
    until(lambda: process.who_answers(before[0], records.comfyui_home(), 1.0) == "ours")
    assert servers.addresses() == before


def test_one_that_hangs_is_ended_and_started_again(
    comfyui: Standin, managed: Callable[..., ManagedServers]
) -> None:
    servers = managed()
    servers.start()
    number = pid_of()
    comfyui.behave(hangs=True)
    servers.look()
    fleet = records.read_fleet()
    assert fleet is not None
    assert fleet.servers[0].state == "restarting"
    assert "did not answer" in fleet.servers[0].problem
    comfyui.behave()
    servers.watch_in_background()
    until(lambda: servers.addresses() and pid_of() != number)


def test_one_that_the_pool_calls_stuck_is_restarted(
    managed: Callable[..., ManagedServers],
) -> None:
    servers = managed()
    [address] = servers.start()
    number = pid_of()
    assert records.request_restart(address.url)
    assert not records.request_restart("http://elsewhere:8188")
    servers.watch_in_background()
    until(lambda: servers.addresses() and pid_of() != number)


def test_one_that_dies_again_and_again_is_given_up(
    comfyui: Standin, managed: Callable[..., ManagedServers]
) -> None:
    said: list[str] = []
    servers = managed(say=said.append)
    servers.start()
    comfyui.behave(dies="over and over", ends=True)
    servers.watch()
    failure = servers.failure()
    assert failure is not None and failure.code == "comfyui_not_started"
    assert "not started again" in said[-1]
    fleet = records.read_fleet()
    assert fleet is not None and fleet.servers[0].state == "failed"


# In the background


@pytest.fixture
def background() -> Iterator[None]:
    yield
    supervise.stop_all(waits=QUICK)


@pytest.mark.usefixtures("background")
def test_in_the_background_it_runs_until_it_is_stopped(comfyui: Standin) -> None:
    said: list[str] = []
    options = comfyui.options()
    [address] = supervise.start_detached(options, waits=QUICK, say=said.append)
    assert process.who_answers(address, records.comfyui_home(), 2.0) == "ours"
    assert any("is ready" in line for line in said)
    fleet = records.read_fleet()
    assert fleet is not None and fleet.detached
    assert supervise.start_detached(options, waits=QUICK) == [address]
    assert supervise.stop_all(waits=QUICK) is True
    assert pids.is_running(fleet.owner.id) is False
    assert port_is_free(options.port)
    assert supervise.stop_all(waits=QUICK) is False


@pytest.mark.usefixtures("background")
def test_a_start_in_the_background_is_not_taken_in_by_what_a_killed_owner_wrote(
    comfyui: Standin,
) -> None:
    left = left_behind(comfyui)
    [address] = supervise.start_detached(comfyui.options(), waits=QUICK)
    assert address != left.launch.address
    assert process.who_answers(address, records.comfyui_home(), 2.0) == "ours"
    until(lambda: not left.is_running())


@pytest.mark.usefixtures("background")
def test_a_failed_start_in_the_background_is_told(comfyui: Standin) -> None:
    comfyui.behave(dies="over")
    with pytest.raises(EngineError, match="over") as caught:
        supervise.start_detached(comfyui.options(), waits=QUICK)
    assert caught.value.code == "comfyui_not_started"
    comfyui.behave()
    assert supervise.start_detached(comfyui.options(), waits=QUICK)


def test_a_wrong_folder_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(KizyError) as caught:
        supervise.start_detached(Options(folder=tmp_path), waits=QUICK)
    assert caught.value.code == "comfyui_folder_invalid"
    assert not (tmp_path / "comfyui").exists()


# As long as somebody uses it

SHORT = replace(QUICK, unused=0.05)


def started_for_a_while(comfyui: Standin, said: list[str] | None = None) -> Address:
    say = said.append if said is not None else lambda line: None
    options = comfyui.options()
    [address] = supervise.start_detached(options, waits=SHORT, while_used=True, say=say)
    return address


def gone(address: Address) -> bool:
    return port_is_free(int(address.url.rpartition(":")[2])) and records.read_fleet() is None


@pytest.mark.usefixtures("background")
def test_it_ends_a_while_after_its_last_user(comfyui: Standin) -> None:
    first, second = User(), User()
    address = started_for_a_while(comfyui)
    first.leave()
    time.sleep(3 * SHORT.unused)
    assert process.who_answers(address, records.comfyui_home(), 2.0) == "ours"
    second.leave()
    until(lambda: gone(address))


@pytest.mark.usefixtures("background")
def test_a_second_command_uses_what_the_first_started_and_outlives_it(comfyui: Standin) -> None:
    first = User()
    address = started_for_a_while(comfyui)
    second, said = User(), list[str]()
    [again] = supervise.start_detached(
        comfyui.options(), waits=SHORT, while_used=True, say=said.append
    )
    assert (again, said) == (address, [])
    first.leave()
    time.sleep(3 * SHORT.unused)
    assert process.who_answers(address, records.comfyui_home(), 2.0) == "ours"
    second.leave()


@pytest.mark.usefixtures("background")
def test_a_user_that_was_killed_uses_nothing(comfyui: Standin) -> None:
    user = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = records.ProcessRecord.of(pids.identify(user.pid))
    file = records.comfyui_home() / users.FOLDER / str(user.pid)
    file.parent.mkdir(parents=True)
    file.write_text(record.model_dump_json())
    address = started_for_a_while(comfyui)
    assert users.anybody()
    user.kill()
    user.wait()
    until(lambda: gone(address))
    assert not file.exists()
    if user.stdin is not None:
        user.stdin.close()


@pytest.mark.usefixtures("background")
def test_who_asks_to_keep_it_keeps_it(comfyui: Standin) -> None:
    user = User()
    address = started_for_a_while(comfyui)
    assert supervise.start_detached(comfyui.options(), waits=SHORT) == [address]
    user.leave()
    time.sleep(3 * SHORT.unused)
    assert process.who_answers(address, records.comfyui_home(), 2.0) == "ours"
    assert supervise.stop_all(waits=SHORT) is True
    assert not (records.comfyui_home() / "keep").exists()


def test_a_start_that_fails_is_not_kept_later(comfyui: Standin) -> None:
    comfyui.behave(dies="over")
    with pytest.raises(EngineError):
        supervise.start_detached(comfyui.options(), waits=QUICK)
    assert not (records.comfyui_home() / "keep").exists()
    supervise.stop_all(waits=QUICK)
