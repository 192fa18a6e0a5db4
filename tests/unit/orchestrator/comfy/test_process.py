"""ComfyUIs that Kizy starts: real processes, with a stand-in for ComfyUI's main.py."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import EngineError, InputError, KizyError
from kizy.orchestrator.engines.comfy import pids, process, records, supervise
from kizy.orchestrator.engines.comfy.address import Address
from kizy.orchestrator.engines.comfy.extra_paths import PACK, quoted, write_extra_paths
from kizy.orchestrator.engines.comfy.installation import (
    custom_nodes_folder,
    default_interpreter,
    devices,
    find_installation,
    has_kizy,
)
from kizy.orchestrator.engines.comfy.managed import ManagedServers, Options
from kizy.orchestrator.engines.comfy.process import (
    ComfyProcess,
    Launch,
    Waits,
    last_lines,
    port_is_free,
)
from kizy.orchestrator.engines.comfy.watch import Rules, Watch

STANDIN = Path(__file__).parents[3] / "fakes" / "standin_comfyui"
QUICK = Waits(ready=20.0, answer=2.0, poll=0.01, end=5.0, look=0.01, say=0.0)
SOON = Rules(hangs=0.0, silent_looks=1, ready=20.0, limit=2, first_pause=0.0)
LIMIT = 20.0


class Standin:
    """A folder that looks like ComfyUI; how it behaves can be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(shutil.copytree(STANDIN, folder))

    def behave(self, **how: Any) -> None:
        temporary = self.folder / "behaviour.new"
        temporary.write_text(json.dumps(how))
        temporary.replace(self.folder / "behaviour.json")

    def options(self, **changes: Any) -> Options:
        values = {"folder": self.folder, "gpus": "none", "port": free_port()}
        return Options.model_validate(values | changes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(true: Callable[[], object]) -> None:
    """Wait for it, milliseconds as a rule."""
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


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


def pid_of(server: int = 0) -> int:
    fleet = records.read_fleet()
    assert fleet is not None
    found = fleet.servers[server].process
    assert found is not None
    return found.pid


# The folder


def test_a_folder_without_main_py_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_installation(tmp_path)
    assert caught.value.code == "comfyui_folder_invalid"


def test_the_folder_around_comfyui_is_refused_with_the_right_one(tmp_path: Path) -> None:
    Standin(tmp_path / "portable" / "ComfyUI")
    with pytest.raises(InputError) as caught:
        find_installation(tmp_path / "portable")
    assert str(tmp_path / "portable" / "ComfyUI") in caught.value.fix


def test_the_version_is_read(comfyui: Standin) -> None:
    assert find_installation(comfyui.folder).version == "0.3.64"


def test_an_interpreter_that_is_not_there_is_refused(comfyui: Standin) -> None:
    with pytest.raises(EngineError) as caught:
        find_installation(comfyui.folder, comfyui.folder / "python")
    assert caught.value.code == "launch_failed"


@pytest.mark.skipif(os.name == "nt", reason="environments lie elsewhere on Windows")
@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ([".venv/bin/python", "venv/bin/python"], ".venv/bin/python"),
        (["venv/bin/python", "../python_embeded/python.exe"], "venv/bin/python"),
        (["../python_embeded/python.exe"], "../python_embeded/python.exe"),
    ],
)
def test_the_folders_own_python_is_taken(comfyui: Standin, there: list[str], taken: str) -> None:
    for name in there:
        path = comfyui.folder / name
        path.resolve().parent.mkdir(parents=True)
        path.touch()
    assert default_interpreter(comfyui.folder).samefile(comfyui.folder / taken)


def test_without_an_environment_this_python_is_taken(comfyui: Standin) -> None:
    assert default_interpreter(comfyui.folder) == Path(sys.executable)


def pack_in(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "kizy"\n')


def test_an_installed_kizy_is_seen_under_any_folder_name(tmp_path: Path) -> None:
    pack_in(tmp_path / "my-kizy")
    assert has_kizy(tmp_path)


def test_a_disabled_kizy_and_other_packs_do_not_count(tmp_path: Path) -> None:
    pack_in(tmp_path / "kizy.disabled")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pyproject.toml").write_text("no toml = = at all")
    assert not has_kizy(tmp_path)


@pytest.mark.parametrize("words", [["--base-directory", "/b"], ["--base-directory=/b"]])
def test_packs_lie_in_the_base_directory_if_one_is_given(words: list[str]) -> None:
    assert custom_nodes_folder(Path("/c"), words) == Path("/b/custom_nodes")
    assert custom_nodes_folder(Path("/c"), []) == Path("/c/custom_nodes")


# GPUs


def asked(answers: dict[str, str | None]) -> Callable[[Any, float], str | None]:
    return lambda words, seconds: answers.get(Path(words[0]).name)


PYTHON = Path("/p/python")
TWO = {"nvidia-smi": "0\n1\n"}


@pytest.mark.parametrize(
    ("gpus", "answers", "environment", "found"),
    [
        ("auto", TWO, {}, ("cuda:0", "cuda:1")),
        ("auto", TWO, {"CUDA_VISIBLE_DEVICES": "1"}, ("cuda:1",)),
        ("auto", TWO, {"CUDA_VISIBLE_DEVICES": "GPU-12ab"}, ("cuda:GPU-12ab",)),
        ("auto", TWO, {"CUDA_VISIBLE_DEVICES": ""}, ("cpu",)),
        ("auto", {"python": "False\n"}, {}, ("cpu",)),
        ("auto", {"python": "True\n"}, {}, ("any",)),
        ("auto", {"nvidia-smi": "NVIDIA-SMI has failed\n", "python": "False"}, {}, ("cpu",)),
        ("auto", {}, {}, ("any",)),
        ("none", TWO, {}, ("cpu",)),
        ((1, 3), {}, {}, ("cuda:1", "cuda:3")),
    ],
)
def test_which_devices_get_a_process(
    gpus: Any, answers: dict[str, str | None], environment: dict[str, str], found: tuple[str, ...]
) -> None:
    assert devices(gpus, PYTHON, environment=environment, run=asked(answers)) == found


# What ComfyUI is told


def launch(comfyui: Standin, **changes: Any) -> Launch:
    values: dict[str, Any] = {"port": free_port(), "device": "cpu"} | changes
    found = find_installation(comfyui.folder)
    return Launch(installation=found, home=records.comfyui_home(), **values)


def test_each_gpu_has_a_process_that_sees_it_alone(comfyui: Standin) -> None:
    environment = launch(comfyui, device="cuda:1").environment({"PATH": "p", "PYTHONPATH": "x"})
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["PATH"] == "p" and "PYTHONPATH" not in environment


def test_only_without_a_gpu_the_cpu_is_forced(comfyui: Standin) -> None:
    paths = Path("paths.yaml")
    assert "--cpu" in launch(comfyui, device="cpu").words(paths)
    assert "--cpu" not in launch(comfyui, device="cuda:0").words(paths)
    assert "--cpu" not in launch(comfyui, device="any").words(paths)
    assert launch(comfyui, arguments=("--cpu",)).words(paths).count("--cpu") == 1


def test_two_processes_share_no_folder_that_they_write_to(comfyui: Standin) -> None:
    one, two = (launch(comfyui, port=port).words(Path("p")) for port in (1, 2))
    for option in ("--output-directory", "--temp-directory", "--database-url"):
        assert one[one.index(option) + 1] != two[two.index(option) + 1]


def test_the_persons_arguments_come_last_and_win(comfyui: Standin) -> None:
    words = launch(comfyui, arguments=("--output-directory", "/o")).words(Path("p"))
    assert words[-2:] == ["--output-directory", "/o"]


@pytest.mark.parametrize(
    "text", ["plain", "a: b # c", "q\"uo'te", "C:\\new\\x", "tab\t", "Füchse 🦊", "\u2028\x7f"]
)
def test_any_path_survives_yaml(text: str) -> None:
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(f"k: {quoted(text)}") == {"k": text}


def test_comfyui_gets_kizys_folders_as_its_own_reader_wants_them(kizy_home: Path) -> None:
    yaml = pytest.importorskip("yaml")
    tables = yaml.safe_load(write_extra_paths(kizy_home / "c", with_pack=True).read_text())
    assert tables == {
        "kizy": {
            "checkpoints": str(kizy_home / "models"),
            "loras": str(kizy_home / "loras"),
            "custom_nodes": str(kizy_home / "c" / "custom_nodes"),
        }
    }


def test_an_installed_pack_is_not_given_a_second_time(kizy_home: Path) -> None:
    assert "custom_nodes" not in write_extra_paths(kizy_home / "c", with_pack=False).read_text()


def test_the_written_pack_hands_over_kizy_itself(kizy_home: Path) -> None:
    write_extra_paths(kizy_home, with_pack=True)
    folder = kizy_home / "custom_nodes" / PACK
    assert [path.name for path in folder.iterdir()] == ["__init__.py"]
    code = (
        "import importlib.util, inspect, sys\n"
        f"file = {str(folder / '__init__.py')!r}\n"
        "spec = importlib.util.spec_from_file_location('a_x_b', file)\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['a_x_b'] = module\n"
        "spec.loader.exec_module(module)\n"
        "assert inspect.iscoroutinefunction(module.comfy_entrypoint)\n"
        "assert not hasattr(module, 'NODE_CLASS_MAPPINGS')\n"
        "print(module.comfy_entrypoint.__module__)\n"
    )
    words = [sys.executable, "-I", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout == "a_x_b_root\n", done.stderr


# One process


def test_a_started_comfyui_answers_and_ends(comfyui: Standin) -> None:
    started = ComfyProcess.start(launch(comfyui))
    try:
        started.wait_ready(QUICK)
        assert started.answer(2.0) == "ours"
    finally:
        started.stop(QUICK)
    assert not started.is_running()
    assert port_is_free(started.launch.port)


def test_one_that_does_not_want_to_end_is_made_to(comfyui: Standin) -> None:
    comfyui.behave(stubborn=True)
    started = ComfyProcess.start(launch(comfyui))
    started.wait_ready(QUICK)
    started.stop(Waits(end=0.05, poll=0.01))
    assert not started.is_running()


def test_one_that_dies_is_told_with_its_last_words(comfyui: Standin) -> None:
    comfyui.behave(dies="No module named 'torch'")
    started = ComfyProcess.start(launch(comfyui))
    with pytest.raises(EngineError, match="No module named 'torch'") as caught:
        started.wait_ready(QUICK)
    assert caught.value.code == "comfyui_not_started"
    assert "interpreter" in caught.value.fix


def test_one_that_never_answers_is_given_up_with_its_last_words(comfyui: Standin) -> None:
    comfyui.behave(never=True)
    said: list[str] = []
    started = ComfyProcess.start(launch(comfyui))
    until(lambda: "Starting server" in started.last_lines(3))
    try:
        with pytest.raises(EngineError, match="Starting server"):
            started.wait_ready(Waits(ready=0.05, answer=1.0, poll=0.01, say=0.0), say=said.append)
    finally:
        started.stop(QUICK)
    assert any(line.startswith("Still starting") and "Starting server" in line for line in said)


def test_a_long_log_is_put_aside_at_a_start(
    comfyui: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MAX_LOG", 10)
    comfyui.behave(dies="over")
    how = launch(comfyui)
    how.log.parent.mkdir(parents=True)
    how.log.write_text("of an earlier start\n")
    started = ComfyProcess.start(how)
    until(lambda: not started.is_running())
    assert "earlier" in how.log.with_suffix(".log.old").read_text()
    assert "earlier" not in how.log.read_text() and "over" in how.log.read_text()


def test_the_last_words_are_of_this_start_alone(comfyui: Standin) -> None:
    how = launch(comfyui)
    how.log.parent.mkdir(parents=True)
    how.log.write_text("of an earlier start\n")
    comfyui.behave(dies="over")
    started = ComfyProcess.start(how)
    until(lambda: not started.is_running())
    assert started.last_lines(9)[1:] == ["Starting server", "over"]


def test_of_a_progress_bar_only_the_newest_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"first\n 10%\r 20%\r 30%\r\nlast\n")
    assert last_lines(log, 2) == [" 30%", "last"]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "x.log", 5) == []


# Which process is which


def test_a_process_is_itself() -> None:
    assert pids.is_running(pids.identify(os.getpid())) is True


def test_another_process_of_the_same_number_is_not_the_same() -> None:
    assert pids.is_running(pids.ProcessId(os.getpid(), "long ago")) is False


def test_a_process_that_ended_does_not_run_even_if_nobody_has_looked() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    known = pids.identify(child.pid)
    until(lambda: not pids.is_running(known))
    assert child.wait(LIMIT) == 0


def test_a_process_of_which_the_start_is_unknown_is_never_signalled() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        pids.end(pids.ProcessId(child.pid, None), force=True)
        pids.end(pids.ProcessId(child.pid, "long ago"), force=True)
        assert child.poll() is None
        child.communicate(b"\n", timeout=LIMIT)
    assert child.returncode == 0


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


# When it is restarted: told the time


RULES = Rules(hangs=100, silent_looks=2, ready=300, limit=3, steady=600)


def test_a_server_that_answers_is_left_alone() -> None:
    watch = Watch(RULES, 0)
    assert [watch.look(now, runs=True, answers=True) for now in range(0, 5000, 50)] == (
        ["leave"] * 100
    )


def test_silence_is_borne_for_a_while() -> None:
    watch = Watch(RULES, 0)
    looks = [watch.look(now, runs=True, answers=False) for now in (40, 80, 120)]
    assert looks == ["leave", "leave", "end"]


def test_one_silent_look_after_a_long_sleep_restarts_nothing() -> None:
    watch = Watch(RULES, 0)
    assert watch.look(5000, runs=True, answers=False) == "leave"
    assert watch.look(5001, runs=True, answers=True) == "leave"


def test_the_pauses_before_restarts_grow_and_their_number_is_limited() -> None:
    watch, now, pauses = Watch(RULES, 0), 0.0, []
    while watch.look(now, runs=False, answers=False) == "end":
        ended = now
        while watch.look(now, runs=False, answers=False) != "start":
            now += 0.5
        pauses.append(now - ended)
    assert pauses == [1, 2, 4]
    assert watch.given_up
    assert watch.look(now + 9999, runs=False, answers=False) == "leave"


def test_a_steady_run_ends_the_row_of_restarts() -> None:
    watch = Watch(RULES, 0)
    watch.look(0, runs=False, answers=False)
    watch.look(1, runs=False, answers=False)
    watch.look(300, runs=True, answers=True)
    assert watch.restarts == 1
    watch.look(602, runs=True, answers=True)
    assert watch.restarts == 0


def test_a_new_start_may_take_its_time() -> None:
    watch = Watch(RULES, 0)
    watch.look(0, runs=False, answers=False)
    assert watch.look(1, runs=False, answers=False) == "start"
    looks = [watch.look(now, runs=True, answers=False) for now in (101, 201, 299)]
    assert looks == ["leave"] * 3 and not watch.ready
    assert watch.look(302, runs=True, answers=False) == "end"
