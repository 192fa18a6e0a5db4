"""What may happen in the middle of a job, on a real ComfyUI that is not ours alone.

Nothing is lost, nothing is drawn twice, and nobody else's job is touched. "Somebody else" sends
plain requests under another client id.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from kizy.core.comfyui_address import Address
from kizy.core.job import Artifact, EndEvent, Event
from kizy.core.plan import Plan
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from kizy.orchestrator.backends.base import Handle
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.run.backend import ComfyEngine, prompt_of
from kizy.orchestrator.backends.comfyui.run.pool import Pool
from kizy.orchestrator.settings import ServerSettings, Settings
from kizy.orchestrator.storage.pictures import PictureFolder

from tests.fakes.line import Line

if TYPE_CHECKING:
    from .conftest import RunningComfyUI

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LONG = 50
"""Steps that leave time to do something in the middle."""

MIDDLE, SHORT = 6, 8
PATIENCE = 180.0
POLL = 0.05


class Server:
    """The real ComfyUI as somebody else sees it, who sends jobs and looks into everything."""

    def __init__(self, comfyui: RunningComfyUI) -> None:
        self.comfyui = comfyui
        self._before = self._saved()

    def _saved(self) -> set[Path]:
        return set((self.comfyui.base / "output").rglob("*.png"))

    def drawn(self, folder: str = "Kizy") -> int:
        """How many pictures were saved there since the test began, in all lives of the server."""
        return sum(path.parent.name == folder for path in self._saved() - self._before)

    def post(self, path: str, body: Any) -> Any:
        answer = requests.post(f"{self.comfyui.url}{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer

    def draw(self, steps: int) -> str:
        """A job of somebody else; its prompt id."""
        names = {"filename_prefix": "other/picture"}
        noise = {"seed": time.monotonic_ns(), "steps": steps, "cfg": 4.0, "denoise": 1.0}
        how = {"sampler_name": "euler", "scheduler": "simple"}
        parts = {"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0]}
        nodes: dict[str, tuple[str, dict[str, Any]]] = {
            "1": ("CheckpointLoaderSimple", {"ckpt_name": "kizy-starter.safetensors"}),
            "2": ("CLIPTextEncode", {"text": "a blue bird", "clip": ["1", 1]}),
            "3": ("EmptyLatentImage", {"width": 128, "height": 128, "batch_size": 1}),
            "4": ("KSampler", {**parts, **noise, **how, "latent_image": ["3", 0]}),
            "5": ("VAEDecode", {"samples": ["4", 0], "vae": ["1", 2]}),
            "6": ("SaveImage", {"images": ["5", 0], **names}),
        }
        graph = {key: {"class_type": kind, "inputs": given} for key, (kind, given) in nodes.items()}
        prompt_id = str(uuid.uuid4())
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": "somebody-else"}
        assert self.post("/prompt", body).json()["node_errors"] == {}
        return prompt_id

    def running(self) -> list[str]:
        return [item[1] for item in self.comfyui.get("/queue").json()["queue_running"]]

    def pending(self) -> list[str]:
        return [item[1] for item in self.comfyui.get("/queue").json()["queue_pending"]]

    def history(self) -> dict[str, str]:
        """Prompt id -> "success" or "error", in this life of the server."""
        entries = self.comfyui.get("/history").json()
        return {key: entry["status"]["status_str"] for key, entry in entries.items()}


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(POLL)


@pytest.fixture
def server(comfyui: RunningComfyUI) -> Iterator[Server]:
    server = Server(comfyui)
    yield server
    server.post("/queue", {"clear": True})
    server.post("/interrupt", {})
    until(lambda: not server.running())
    server.post("/history", {"clear": True})


class Kizy:
    """An App whose only server is at that address."""

    def __init__(self, url: str, pictures: Path) -> None:
        servers = (ServerSettings(name="real", url=url),)
        self.app = App(pictures=pictures, settings=Settings(servers=servers, engine="comfyui"))
        self.folder = pictures

    def plan(self, steps: int = LONG, **wishes: Any) -> Plan:
        return self.app.plan(GenerationRequest.model_validate(wish(steps) | wishes))

    def start(self, plan: Plan) -> Handle:
        return self.app.start(plan)

    def events(self, handle: Handle) -> list[Event]:
        return list(self.app.follow(handle))

    def until_in_the_middle(self, handle: Handle) -> None:
        for event in self.app.follow(handle):
            if event.kind == "progress" and steps_of(event.doing) >= MIDDLE:
                return
        raise AssertionError("it ended")

    def saved(self) -> list[Path]:
        return sorted(self.folder.glob("*.png"))


def steps_of(doing: str) -> int:
    """How many steps are drawn, out of what a progress says."""
    found = re.search(r"step (\d+) of", doing)
    return int(found[1]) if found else 0


def wish(steps: int) -> dict[str, Any]:
    size = {"size": "128x128", "enlarge": None}
    return {"prompt": "a red fox, 3d render", "model": "starter", "steps": steps, **size}


@pytest.fixture
def kizy(comfyui: RunningComfyUI, tmp_path: Path) -> Iterator[Kizy]:
    kizy = Kizy(comfyui.url, tmp_path / "pictures")
    yield kizy
    kizy.app.close()


def end_of(events: list[Event]) -> EndEvent:
    (end,) = [event for event in events if event.kind == "end"]
    return end


def artifacts_of(events: list[Event]) -> list[Artifact]:
    assert end_of(events).state == "succeeded", end_of(events).error
    fractions = [event.fraction for event in events if event.kind == "progress"]
    assert fractions == sorted(fractions)
    return [event.artifact for event in events if event.kind == "artifact"]


def codes(events: list[Event]) -> list[str]:
    return [event.code for event in events if event.kind == "notice"]


# The server


def test_a_server_that_is_killed_and_restarted_draws_the_job_once(
    kizy: Kizy, server: Server, comfyui: RunningComfyUI
) -> None:
    handle = kizy.start(kizy.plan())
    kizy.until_in_the_middle(handle)
    comfyui.kill()
    comfyui.start_again()
    events = kizy.events(handle)
    assert len(artifacts_of(events)) == len(kizy.saved()) == server.drawn() == 1
    assert codes(events).count("sent_again") == 1
    assert server.history() == {handle.job_id: "success"}


def test_of_several_pictures_none_is_lost_or_drawn_twice_when_the_server_is_killed(
    kizy: Kizy, server: Server, comfyui: RunningComfyUI
) -> None:
    handle = kizy.start(kizy.plan(SHORT, count=6, seed=1))
    until(lambda: server.drawn() >= 2)
    comfyui.kill()
    comfyui.start_again()
    seeds = sorted(artifact.seed for artifact in artifacts_of(kizy.events(handle)))
    assert seeds == [1, 2, 3, 4, 5, 6]
    assert len(kizy.saved()) == 6
    # One may have been saved there, and its history lost before Kizy could ask for it.
    assert 6 <= server.drawn() <= 7


def test_a_job_waiting_on_a_server_that_is_killed_is_not_lost(
    kizy: Kizy, server: Server, comfyui: RunningComfyUI
) -> None:
    server.draw(LONG)
    handle = kizy.start(kizy.plan(SHORT))
    until(lambda: handle.job_id in server.pending())
    comfyui.kill()
    comfyui.start_again()
    assert len(artifacts_of(kizy.events(handle))) == server.drawn() == 1


# The line


@pytest.fixture
def line(comfyui: RunningComfyUI) -> Iterator[Line]:
    line = Line(comfyui.url)
    yield line
    line.close()


@pytest.fixture
def far_kizy(line: Line, tmp_path: Path) -> Iterator[Kizy]:
    """Kizy behind the line."""
    kizy = Kizy(line.url, tmp_path / "pictures")
    yield kizy
    kizy.app.close()


def test_live_progress_goes_on_after_its_socket_was_cut(
    far_kizy: Kizy, line: Line, server: Server
) -> None:
    handle = far_kizy.start(far_kizy.plan())
    far_kizy.until_in_the_middle(handle)
    line.cut(websockets_only=True)
    events = far_kizy.events(handle)
    assert len(artifacts_of(events)) == len(far_kizy.saved()) == server.drawn() == 1
    assert codes(events) == []
    assert line.sockets > 1
    assert len({event.fraction for event in events if event.kind == "progress"}) > 20


def test_a_line_that_is_cut_and_mended_loses_nothing(
    far_kizy: Kizy, line: Line, server: Server
) -> None:
    handle = far_kizy.start(far_kizy.plan())
    far_kizy.until_in_the_middle(handle)
    line.cut()
    for event in far_kizy.app.follow(handle):
        if event.kind == "notice" and event.code == "server_away":
            break
    line.mend()
    events = far_kizy.events(handle)
    assert len(artifacts_of(events)) == len(far_kizy.saved()) == server.drawn() == 1
    assert codes(events) == ["server_away", "server_back"]


def test_a_job_that_ended_while_the_line_was_cut_is_fetched(
    far_kizy: Kizy, line: Line, server: Server
) -> None:
    handle = far_kizy.start(far_kizy.plan(100))
    far_kizy.until_in_the_middle(handle)
    line.cut()
    until(lambda: server.history().get(handle.job_id) == "success")
    line.mend()
    events = far_kizy.events(handle)
    assert len(artifacts_of(events)) == len(far_kizy.saved()) == server.drawn() == 1


def test_of_several_pictures_none_is_lost_or_drawn_twice_when_the_line_is_cut(
    far_kizy: Kizy, line: Line, server: Server
) -> None:
    handle = far_kizy.start(far_kizy.plan(SHORT, count=6, seed=1))
    for done in range(1, 5):
        until(lambda: server.drawn() >= done)  # noqa: B023 - it waits here
        line.cut()
        until(lambda: server.drawn() > done or not server.running())  # noqa: B023
        line.mend()
    seeds = sorted(artifact.seed for artifact in artifacts_of(far_kizy.events(handle)))
    assert seeds == [1, 2, 3, 4, 5, 6]
    assert len(far_kizy.saved()) == server.drawn() == 6


# Others on the same server


def test_a_queue_that_somebody_cleared_costs_no_job(kizy: Kizy, server: Server) -> None:
    other = server.draw(LONG)
    handle = kizy.start(kizy.plan(SHORT))
    until(lambda: handle.job_id in server.pending())
    server.post("/queue", {"clear": True})
    events = kizy.events(handle)
    assert len(artifacts_of(events)) == len(kizy.saved()) == server.drawn() == 1
    assert codes(events) == ["sent_again"]
    assert server.history() == {other: "success", handle.job_id: "success"}


def test_a_job_that_is_cancelled_in_the_queue_leaves_the_others(kizy: Kizy, server: Server) -> None:
    before = server.draw(LONG)
    handle = kizy.start(kizy.plan(LONG))
    until(lambda: handle.job_id in server.pending())
    behind = server.draw(SHORT)
    kizy.app.cancel(handle)
    assert end_of(kizy.events(handle)).state == "cancelled"
    assert server.running() == [before]
    assert server.pending() == [behind]
    until(lambda: len(server.history()) == 2)
    assert server.history() == {before: "success", behind: "success"}
    assert (server.drawn(), len(kizy.saved()), server.drawn("other")) == (0, 0, 2)


def test_a_job_that_is_cancelled_while_it_runs_leaves_the_others(
    kizy: Kizy, server: Server
) -> None:
    handle = kizy.start(kizy.plan(count=3))
    kizy.until_in_the_middle(handle)
    others = [server.draw(SHORT), server.draw(SHORT)]
    kizy.app.cancel(handle)
    assert end_of(kizy.events(handle)).state == "cancelled"
    ours = [prompt_of(handle.job_id, index) for index in range(3)]
    assert not set(ours) & {*server.running(), *server.pending()}
    until(lambda: set(others) <= set(server.history()))
    assert [server.history()[other] for other in others] == ["success", "success"]
    assert (server.drawn(), len(kizy.saved()), server.drawn("other")) == (0, 0, 2)


def test_a_job_that_somebody_stopped_says_so(kizy: Kizy, server: Server) -> None:
    handle = kizy.start(kizy.plan())
    kizy.until_in_the_middle(handle)
    server.post("/interrupt", {})
    end = end_of(kizy.events(handle))
    assert end.state == "cancelled"
    assert end.error is not None and "Somebody stopped the job" in end.error.message


# Kizy itself

SCRIPT = """
import sys
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App

app = App()
plan = app.plan(GenerationRequest.model_validate_json(sys.argv[1]))
handle = app.start(plan)
print(handle.job_id, flush=True)
print(plan.model_dump_json(), flush=True)
for event in app.follow(handle):
    if event.kind == "progress":
        print(event.doing, flush=True)
"""


def begun_by_a_killed_kizy(comfyui: RunningComfyUI, folder: Path) -> tuple[str, Plan]:
    """Job id and Plan of a job whose Kizy was killed in the middle of it."""
    settings = {"KIZY_SERVERS": comfyui.url, "KIZY_ENGINE": "comfyui", "KIZY_PICTURES": str(folder)}
    request = GenerationRequest.model_validate(wish(LONG)).model_dump_json()
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, request],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip()
        plan = Plan.model_validate_json(process.stdout.readline())
        while steps_of(process.stdout.readline()) < MIDDLE:
            assert process.poll() is None
        process.kill()
    assert process.returncode != 0
    return job_id, plan


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_of_a_killed_kizy_is_taken_up_and_not_drawn_again(
    comfyui: RunningComfyUI, server: Server, tmp_path: Path, ended: bool
) -> None:
    folder = tmp_path / "pictures"
    job_id, plan = begun_by_a_killed_kizy(comfyui, folder)
    assert server.running() == [job_id]
    if ended:
        until(lambda: server.history().get(job_id) == "success")
    client = ComfyClient(Address("real", comfyui.url))
    save = PictureFolder(folder, "0").save_png
    engine = ComfyEngine(Pool([client]), [client], save)
    events = list(engine.follow(engine.start(plan, job_id, again=True)))
    engine.close()
    (artifact,) = artifacts_of(events)
    assert artifact.plan == plan
    assert server.drawn() == len(list(folder.glob("*.png"))) == 1
    assert server.history() == {job_id: "success"}
