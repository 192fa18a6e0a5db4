"""How quick `kizy serve` is: from a POST to the start, jobs a second, followers, memory.

    python -m benchmarks.service [--posts 200] [--jobs 300] [--followers 200] [--waiting 1000]

A fake ComfyUI whose nodes take no time draws. Beside Kizy, in the same run and on the same fake, a
bare script posts the same graph to ComfyUI itself and waits for its end: what is printed of
throughput is also Kizy's share of the bare script's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from kizy.core.comfyui_address import Address
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient

from .comfy_overhead import FAKE_PLAN, Bare, graph_of
from .fake_comfyui import CHECKPOINT, fakes
from .kizy_server import KizyServer, servers_setting

CLIENTS = 4
"""Threads that post at the same time where jobs a second are counted."""


def body(seed: int, **more: Any) -> dict[str, Any]:
    """A request that no other one equals."""
    values = {"prompt": "a red fox in the snow", "model": CHECKPOINT, "size": "128x128"}
    return {**values, "steps": 2, "seed": seed, **more}


def post(session: requests.Session, url: str, seed: int, **more: Any) -> dict[str, Any]:
    answer = session.post(f"{url}/v1/generations", json=body(seed, **more), timeout=60)
    answer.raise_for_status()
    return answer.json()


def wait_for_all(kizy: KizyServer, look: float = 0.02) -> None:
    """Looks every so many seconds: each look is a request more for the server."""
    while True:
        state = kizy.get("/v1/queue")
        if state["waiting"] == state["running"] == 0:
            return
        time.sleep(look)


def post_to_start(kizy: KizyServer, posts: int) -> dict[str, float]:
    """Milliseconds from before the POST to the job's start, one job after the other."""
    taken: list[float] = []
    answered: list[float] = []
    with requests.Session() as session:
        for number in range(posts + 10):
            before = time.time()
            job = post(session, kizy.url, number)
            answered.append(1000 * (time.time() - before))
            wait_for_all(kizy)
            started = kizy.get(f"/v1/jobs/{job['id']}")["started"]
            taken.append(1000 * (datetime.fromisoformat(started).timestamp() - before))
    # The first ones find nothing loaded.
    return {**_shares("start", taken[10:]), **_shares("answer", answered[10:])}


def throughput(kizy: KizyServer, jobs: int, first: int) -> float:
    """Jobs a second, from the first POST to the last end."""

    def client(number: int) -> None:
        with requests.Session() as session:
            for index in range(number, jobs, CLIENTS):
                post(session, kizy.url, first + index)

    begun = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(client, range(CLIENTS)))
    wait_for_all(kizy, look=0.25)
    return jobs / (time.perf_counter() - begun)


def bare_throughput(url: str, jobs: int, folder: Path) -> float:
    """The same by a script that knows ComfyUI alone: one job after the other."""
    graph = graph_of(FAKE_PLAN, ComfyClient(Address("fake", url)).facts())
    script = Bare(url, folder)
    begun = time.perf_counter()
    try:
        for seed in range(jobs):
            for node in graph.values():
                if "seed" in node["inputs"]:
                    node["inputs"]["seed"] = 10**9 + seed
            script.draw(graph)
    finally:
        script.close()
    return jobs / (time.perf_counter() - begun)


async def follow_all(kizy: KizyServer, followers: int) -> dict[str, float]:
    """Milliseconds from a job's end to when the followers hear it; their connections' memory."""
    with requests.Session() as session:
        session.patch(f"{kizy.url}/v1/queue", json={"paused": True}, timeout=30)
        job = post(session, kizy.url, 5 * 10**9)
        before = kizy.memory()
        heard = [asyncio.create_task(_until_end(kizy.url, job["id"])) for _ in range(followers)]
        # Time for all of them to be connected.
        await asyncio.sleep(2.0)
        more = kizy.memory() - before
        session.patch(f"{kizy.url}/v1/queue", json={"paused": False}, timeout=30)
        times = await asyncio.gather(*heard)
        ended = kizy.get(f"/v1/jobs/{job['id']}")["ended"]
    end = datetime.fromisoformat(ended).timestamp()
    late = [1000 * (moment - end) for moment in times]
    return {**_shares("heard", late), "followers": len(times), "megabytes": round(more, 1)}


async def _until_end(url: str, job_id: str) -> float:
    """When this follower heard of the end."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    try:
        while True:
            line = await asyncio.wait_for(reader.readline(), 60)
            if line.startswith(b"event: end"):
                return time.time()
            if not line:
                raise RuntimeError("the events ended before the job did")
    finally:
        writer.close()


def waiting_memory(kizy: KizyServer, waiting: int) -> dict[str, float]:
    """Megabytes (10^6) that the server's memory grows by while jobs wait."""
    with requests.Session() as session:
        session.patch(f"{kizy.url}/v1/queue", json={"paused": True}, timeout=30)
        before = kizy.memory()
        begun = time.perf_counter()
        for seed in range(waiting):
            post(session, kizy.url, 7 * 10**9 + seed)
        seconds = time.perf_counter() - begun
        more = kizy.memory() - before
        for job in _all_waiting(kizy):
            session.delete(f"{kizy.url}/v1/jobs/{job}", timeout=30)
        session.patch(f"{kizy.url}/v1/queue", json={"paused": False}, timeout=30)
    return {
        "jobs": waiting,
        "megabytes_for_1000": round(1000 * more / waiting, 1),
        "posts_a_second": round(waiting / seconds, 1),
    }


def _all_waiting(kizy: KizyServer) -> Sequence[str]:
    found: list[str] = []
    page = kizy.get("/v1/jobs", state="queued", limit=200)
    while True:
        found += [job["id"] for job in page["jobs"]]
        if page.get("next") is None:
            return found
        page = kizy.get("/v1/jobs", state="queued", limit=200, cursor=page["next"])


def _shares(name: str, values: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=20)
    return {f"{name}_p50": round(statistics.median(values), 1), f"{name}_p95": round(cuts[18], 1)}


def main() -> None:
    words = argparse.ArgumentParser(description="What is printed stands at the top of this file.")
    words.add_argument("--posts", type=int, default=200)
    words.add_argument("--jobs", type=int, default=300)
    words.add_argument("--followers", type=int, default=200)
    words.add_argument("--waiting", type=int, default=1000)
    words.add_argument("--servers", type=int, default=2)
    given = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="kizy-service-") as name:
        folder = Path(name)
        with fakes(given.servers, 0.0) as urls:
            named = {f"fake{i}": url for i, url in enumerate(urls)}
            settings = {
                "KIZY_ENGINE": "comfyui",
                "KIZY_SERVERS": servers_setting(named),
                "KIZY_LORAS__BACKGROUND": "false",
                "KIZY_JOBS__MAX_WAITING": str(given.waiting + 1000),
            }
            kizy = KizyServer(folder / "home", settings)
            kizy.start()
            try:
                found: dict[str, Any] = {"milliseconds": post_to_start(kizy, given.posts)}
                bare = bare_throughput(urls[0], given.jobs, folder)
                mine = throughput(kizy, given.jobs, 10**6)
                found["jobs_a_second"] = {
                    "kizy": round(mine, 1),
                    "bare": round(bare, 1),
                    "ratio": round(mine / bare, 2),
                }
                found["followers"] = asyncio.run(follow_all(kizy, given.followers))
                found["waiting"] = waiting_memory(kizy, given.waiting)
                found["megabytes"] = round(kizy.memory(), 1)
            finally:
                kizy.kill()
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
