"""What Kizy adds to a job on ComfyUI: beside a bare script, and over several servers.

    python -m benchmarks.comfy_overhead [--jobs 200] [--servers 1 4 16] [--server URL] [--json]

The same graph goes through a bare script and through Kizy's engine in turns, to a fake ComfyUI
whose nodes take no time; printed is what Kizy adds to a job, in milliseconds. Then both draw on
several fakes at once whose samplers take half a second, the bare script with a loop for each of
them; printed is Kizy's share of the bare script's throughput, and of what the servers could have
drawn from the first start to the last saved picture, ramp-up and end included. That takes three
minutes on two cores with nothing else to do. With `--server`, or KIZY_TEST_COMFYUI (the folder of
a ComfyUI, see tests/integration/conftest.py), a few jobs are compared on a real ComfyUI that has
Kizy's pack.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
import websocket
from kizy.core.comfyui_address import Address
from kizy.core.job import EndEvent
from kizy.core.plan import ModelFile, Plan
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.run.backend import ComfyEngine
from kizy.orchestrator.backends.comfyui.run.pool import Pool
from kizy.orchestrator.backends.comfyui.workflows.compile import compile_plan
from kizy.orchestrator.backends.comfyui.workflows.library import STARTER, template_for
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts
from kizy.orchestrator.storage.pictures import PictureFolder

from .fake_comfyui import CHECKPOINT, ROOT, fakes

WARM_UP = 5
SECONDS = 0.5
"""Of the sampler, where the throughput is measured."""
FEW_STEPS = 4
"""There: at each step the fake makes a preview, which would cost more than is measured."""
JOBS_A_SERVER = 30
REAL_JOBS = 10
FAKE_PLAN = Plan(
    request_prompt="a red fox in the snow",
    prompt="a red fox in the snow",
    negative="blurry",
    family="sd15",
    model=ModelFile(name=CHECKPOINT),
    width=128,
    height=128,
    output_width=128,
    output_height=128,
    count=1,
    seed=0,
    steps=20,
    guidance=7.0,
    sampler="euler",
    scheduler="normal",
)
REAL_PLAN = FAKE_PLAN.model_copy(
    update={"family": STARTER, "model": ModelFile(name=STARTER), "negative": "", "steps": 1}
)


class Bare:
    """What somebody would write by hand, and nothing else: no error is understood."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.client = url, folder, str(uuid.uuid4())
        self.session = requests.Session()
        socket_url = f"{url.replace('http', 'ws', 1)}/ws?clientId={quote(self.client)}"
        self.socket = websocket.create_connection(socket_url)

    def draw(self, graph: dict[str, Any]) -> None:
        body = {"prompt": graph, "client_id": self.client}
        prompt_id = self.session.post(f"{self.url}/prompt", json=body).json()["prompt_id"]
        while not self.is_end(self.socket.recv(), prompt_id):
            pass
        history = self.session.get(f"{self.url}/history/{prompt_id}").json()[prompt_id]
        for output in history["outputs"].values():
            for image in output["images"]:
                picture = self.session.get(f"{self.url}/view", params=image)
                (self.folder / image["filename"]).write_bytes(picture.content)

    def is_end(self, frame: str | bytes, prompt_id: str) -> bool:
        if isinstance(frame, bytes):
            return False
        message = json.loads(frame)
        data = message["data"]
        is_last = message["type"] == "executing" and data["node"] is None
        return is_last and data["prompt_id"] == prompt_id

    def close(self) -> None:
        self.socket.close()
        self.session.close()


class Kizy:
    """The engine over these servers, with Kizy's own waits; pictures are saved with their Plan."""

    def __init__(self, urls: Sequence[str], folder: Path) -> None:
        clients = [ComfyClient(Address(f"server {i}", url)) for i, url in enumerate(urls)]
        save = PictureFolder(folder, "0").save_png
        self.engine = ComfyEngine(Pool(clients), clients, save)
        self.facts = clients[0].facts()
        # Kizy asks every server what it has before it plans; later it knows from its cache.
        self.engine.capabilities()

    def draw(self, plan: Plan) -> None:
        """Draw and save all pictures of a Plan. Raises RuntimeError."""
        handle = self.engine.start(plan, str(uuid.uuid4()))
        try:
            for event in self.engine.follow(handle):
                if isinstance(event, EndEvent) and event.error is not None:
                    raise RuntimeError(event.error.message)
        except KeyboardInterrupt:
            self.engine.cancel(handle)
            raise

    def close(self) -> None:
        self.engine.close()


def graph_of(plan: Plan, facts: ServerFacts) -> dict[str, Any]:
    """The graph that Kizy sends for a Plan of one picture."""
    return compile_plan(plan, template_for(plan, facts), facts).graph


def added(url: str, folder: Path, plan: Plan, jobs: int) -> dict[str, Any]:
    """Milliseconds of `jobs` jobs by each, in turns; each job has a seed of its own."""
    taken: dict[str, list[float]] = {"bare": [], "kizy": []}
    with ExitStack() as stack:
        (folder / "bare").mkdir(parents=True, exist_ok=True)
        bare, kizy = Bare(url, folder / "bare"), Kizy([url], folder / "kizy")
        stack.callback(bare.close)
        stack.callback(kizy.close)
        warm_up = min(WARM_UP, jobs)
        first_seed = time.time_ns() % 2**40
        for number in range(warm_up + jobs):
            # Who begins changes: neither always finds the server as the other left it.
            for name in ("bare", "kizy") if number % 2 else ("kizy", "bare"):
                seed = first_seed + 2 * number + (name == "kizy")
                one = plan.model_copy(update={"seed": seed})
                graph = graph_of(one, kizy.facts)
                started = time.perf_counter()
                if name == "bare":
                    bare.draw(graph)
                else:
                    kizy.draw(one)
                taken[name].append(1000 * (time.perf_counter() - started))
    bare_ms, kizy_ms = taken["bare"][warm_up:], taken["kizy"][warm_up:]
    differences = [b - a for a, b in zip(bare_ms, kizy_ms, strict=True)]
    return {
        "jobs": jobs,
        "bare_ms": {"median": round(statistics.median(bare_ms), 2), "p95": p95(bare_ms)},
        "kizy_ms": {"median": round(statistics.median(kizy_ms), 2), "p95": p95(kizy_ms)},
        "added_ms": {"median": round(statistics.median(differences), 2), "p95": p95(differences)},
        "ratio": round(statistics.median(kizy_ms) / statistics.median(bare_ms), 3),
    }


def throughput(servers: int, folder: Path, pictures: int, seconds: float) -> dict[str, Any]:
    """`pictures` on so many servers, by bare loops and as one job of Kizy's."""
    plan = FAKE_PLAN.model_copy(update={"count": pictures, "steps": FEW_STEPS})
    with fakes(servers, seconds) as urls, ExitStack() as stack:
        kizy = Kizy(urls, folder / "kizy")
        stack.callback(kizy.close)
        bare = by_bare_loops(urls, folder / "bare", plan, kizy.facts)
        before = [busy_seconds(url) for url in urls]
        started = time.perf_counter()
        # Other seeds, as ComfyUI draws nothing twice.
        kizy.draw(plan.model_copy(update={"seed": pictures}))
        taken = time.perf_counter() - started
        busy = sum(busy_seconds(url) for url in urls) - sum(before)
    ideal = pictures * seconds / servers
    return {
        "servers": servers,
        "pictures": pictures,
        "bare_seconds": round(bare, 2),
        "seconds": round(taken, 2),
        "share_of_bare": round(bare / taken, 4),
        "share_of_ideal": round(ideal / taken, 4),
        "bare_share_of_ideal": round(ideal / bare, 4),
        "servers_busy": round(busy / servers / taken, 4),
    }


def by_bare_loops(urls: Sequence[str], folder: Path, plan: Plan, facts: ServerFacts) -> float:
    """Seconds for all pictures of a Plan with a loop for each server, one job after the other."""
    each = plan.count // len(urls)

    def loop(number: int, bare: Bare) -> None:
        for index in range(number * each, (number + 1) * each):
            bare.draw(graph_of(plan.for_picture(index), facts))

    with ExitStack() as stack:
        bares: list[Bare] = []
        for number, url in enumerate(urls):
            (folder / str(number)).mkdir(parents=True, exist_ok=True)
            bares.append(Bare(url, folder / str(number)))
            stack.callback(bares[-1].close)
        with ThreadPoolExecutor(len(urls)) as threads:
            started = time.perf_counter()
            for done in [threads.submit(loop, *pair) for pair in enumerate(bares)]:
                done.result()
            return time.perf_counter() - started


def busy_seconds(url: str) -> float:
    """How long a server was at jobs, by the times in its history: its own slowness counts."""
    total = 0
    for entry in requests.get(f"{url}/history", timeout=60).json().values():
        times = [about["timestamp"] for _, about in entry["status"]["messages"]]
        total += max(times) - min(times)
    return total / 1000


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    ordered = sorted(values)
    return round(ordered[max(0, -(-len(ordered) * 95 // 100) - 1)], 2)


@contextmanager
def real_server(url: str | None) -> Iterator[str | None]:
    """The address of a real ComfyUI: the given one, or one that is started; None without."""
    folder = os.environ.get("KIZY_TEST_COMFYUI")
    if url is not None or not folder:
        yield url and url.rstrip("/")
        return
    from tests.integration.conftest import start_comfyui

    with tempfile.TemporaryDirectory(prefix="kizy-comfyui-") as name:
        base = Path(name)
        for folder_name in ("input", "models/checkpoints", "custom_nodes"):
            (base / folder_name).mkdir(parents=True)
        (base / "custom_nodes" / "ComfyUI-Kizy").symlink_to(ROOT)
        with start_comfyui(base) as running:
            yield running.url


def lines_of(result: dict[str, Any]) -> Iterator[str]:
    """The result as a small table."""
    for name, title in (("fake", "fake, nodes without cost"), ("real", "real ComfyUI, starter")):
        if (found := result.get(name)) is None:
            continue
        yield f"{title}: {found['jobs']} jobs each" + " " * 8 + "median ms    p95 ms"
        for row in ("bare", "kizy", "added"):
            values = found[f"{row}_ms"]
            yield f"  {row:<40}{values['median']:>10.2f}{values['p95']:>10.2f}"
        yield f"  times bare (medians){found['ratio']:>30.2f}"
    for found in result.get("servers", ()):
        shares = [
            f"{100 * found['share_of_bare']:.1f}% of the bare loops' throughput",
            f"{100 * found['share_of_ideal']:.1f}% of the ideal one"
            f" (bare {100 * found['bare_share_of_ideal']:.1f}%)",
            f"busy {100 * found['servers_busy']:.1f}% of the time",
        ]
        yield f"{found['servers']:>3} servers, {found['pictures']} pictures: {', '.join(shares)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="of each, on the fake")
    parser.add_argument("--servers", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--server", help="address of a real ComfyUI with Kizy's pack")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="kizy-overhead-") as name, ExitStack() as stack:
        folder = Path(name)
        os.environ["KIZY_HOME"] = name
        if options.jobs:
            url = stack.enter_context(fakes(1, 0.0))[0]
            result["fake"] = added(url, folder / "fake", FAKE_PLAN, options.jobs)
        real = stack.enter_context(real_server(options.server))
        if real is not None:
            result["real"] = added(real, folder / "real", REAL_PLAN, REAL_JOBS)
        result["servers"] = [
            throughput(count, folder / str(count), count * JOBS_A_SERVER, SECONDS)
            for count in options.servers
        ]
    print(json.dumps(result, indent=2) if options.json else "\n".join(lines_of(result)))


if __name__ == "__main__":
    main()
