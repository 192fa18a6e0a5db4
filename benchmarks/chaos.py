"""Everything fails at random, and no job may be lost, done twice, or leave a file behind.

    python -m benchmarks.chaos [--jobs 300] [--servers 3] [--seed N] [--kills 12] [--json]

Several fake ComfyUI servers draw for a real `kizy serve`, while at random Kizy is killed (-9) or
asked to stop, servers are restarted and forget their queues, all their sockets break, and the
folder for finished files cannot be written to. Clients post jobs with idempotency keys and post
again when they got no answer; some jobs are cancelled. In the end every job that was accepted
must have ended exactly once, with exactly one picture for each seed, and the folder must hold the
files of the jobs and nothing else. Ends with status 1 if that is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sqlite3
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests

from .fake_comfyui import CHECKPOINT
from .kizy_server import KizyServer, servers_setting

STEP_SECONDS = 0.05
"""Of a sampler: long enough that failures meet jobs at work."""

END_SECONDS = 600.0
"""So long the last jobs may take after the last failure."""

ENDS = ("succeeded", "failed", "cancelled")


@dataclass
class Report:
    """What was seen. `problems` must be empty. Memory in megabytes (10^6)."""

    jobs: int = 0
    states: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    blows: dict[str, int] = field(default_factory=dict)
    posts: int = 0
    drawn_again: int = 0
    seconds: float = 0.0
    longest_stop: float = 0.0
    memory: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Chaos:
    """One run. `kills`: how often Kizy dies."""

    def __init__(self, folder: Path, jobs: int, servers: int, kills: int, seed: int) -> None:
        from tests.fakes.comfyui import FakeComfyUI

        def cost(name: str, inputs: Mapping[str, Any]) -> float:
            return STEP_SECONDS if name == "KSampler" else 0.0

        self.random = random.Random(seed)
        self.fakes = [
            FakeComfyUI(models={"checkpoints": [CHECKPOINT]}, cost=cost) for _ in range(servers)
        ]
        self.folder, self.count, self.kills = folder, jobs, kills
        self.report = Report(jobs=jobs)
        self._blows: Counter[str] = Counter()
        self._accepted: dict[str, str] = {}
        self._cancelled: set[str] = set()
        self._lock = threading.Lock()
        self._done = threading.Event()

    def run(self) -> Report:
        """All of it; takes about half a second for each job."""
        begun = time.monotonic()
        with contextlib.ExitStack() as stack:
            for fake in self.fakes:
                stack.enter_context(fake)
            urls = {f"fake{i}": fake.url for i, fake in enumerate(self.fakes)}
            self.kizy = KizyServer(
                self.folder / "home",
                {
                    "KIZY_ENGINE": "comfyui",
                    "KIZY_SERVERS": servers_setting(urls),
                    "KIZY_LORAS__BACKGROUND": "false",
                    "KIZY_JOBS__ATTEMPTS": "50",
                },
            )
            self.kizy.start()
            stack.callback(self.kizy.kill)
            posting = [threading.Thread(target=self._post, args=(i,)) for i in range(4)]
            for thread in posting:
                thread.start()
            blows = threading.Thread(target=self._strike)
            blows.start()
            for thread in posting:
                thread.join()
            blows.join()
            self._wait()
            self.report.seconds = round(time.monotonic() - begun, 1)
            self.report.memory.append(round(self.kizy.memory(), 1))
            self.report.longest_stop = round(max(self.report.longest_stop, self.kizy.stop()), 2)
            self._check()
        self.report.blows = dict(sorted(self._blows.items()))
        return self.report

    def _post(self, number: int) -> None:
        """A client: posts its share, each until it is accepted; cancels one in twenty."""
        rolls = random.Random(self.random.random())
        for index in range(number, self.count, 4):
            key = str(uuid.uuid4())
            body = {
                "prompt": f"chaos {index}",
                "model": CHECKPOINT,
                "size": "64x64",
                "steps": 2,
                "seed": index * 10,
                "count": 1 + index % 2,
                "owner": f"owner {index % 3}",
            }
            job_id = self._until(lambda body=body, key=key: self._posted(body, key))
            with self._lock:
                self._accepted[job_id] = body["prompt"]
            if rolls.random() < 0.05:
                self._until(lambda job_id=job_id: self._cancel(job_id))
                self._cancelled.add(job_id)
            time.sleep(rolls.random() * 0.1)

    def _posted(self, body: Mapping[str, Any], key: str) -> str:
        self.report.posts += 1
        answer = requests.post(
            f"{self.kizy.url}/v1/generations",
            json=body,
            headers={"Idempotency-Key": key},
            timeout=20,
        )
        if answer.status_code not in (200, 202):
            raise requests.RequestException(answer.text[:300])
        return str(answer.json()["id"])

    def _cancel(self, job_id: str) -> str:
        answer = requests.delete(f"{self.kizy.url}/v1/jobs/{job_id}", timeout=20)
        answer.raise_for_status()
        return job_id

    def _until(self, act: Callable[[], str]) -> str:
        until = time.monotonic() + END_SECONDS
        while True:
            try:
                return act()
            except (requests.RequestException, ValueError, KeyError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def _strike(self) -> None:
        """Blow after blow; Kizy dies as often as was asked for."""
        left = self.kills
        while left > 0:
            time.sleep(self.random.uniform(0.5, 2.0))
            blow = self.random.choice(("kill", "stop", "server", "sockets", "disk", "both"))
            self._blows[blow] += 1
            if blow in ("kill", "stop", "both"):
                left -= 1
            getattr(self, f"_{blow}")()

    def _kill(self) -> None:
        self.report.memory.append(round(self.kizy.memory(), 1))
        self.kizy.kill()
        self.kizy.start()

    def _stop(self) -> None:
        took = self.kizy.stop()
        self.report.longest_stop = max(self.report.longest_stop, round(took, 2))
        self.kizy.start()

    def _server(self) -> None:
        self.random.choice(self.fakes).restart()

    def _both(self) -> None:
        self.kizy.kill()
        self._server()
        self.kizy.start()

    def _sockets(self) -> None:
        self.random.choice(self.fakes).drop_sockets()

    def _disk(self) -> None:
        """The folder for finished files is no folder for a moment."""
        artifacts, away = self.kizy.home / "artifacts", self.kizy.home / "artifacts.away"
        with contextlib.suppress(OSError):
            artifacts.rename(away)
            with contextlib.suppress(OSError):
                artifacts.write_bytes(b"")
                time.sleep(self.random.uniform(0.1, 0.5))
                artifacts.unlink(missing_ok=True)
            while away.exists():
                try:
                    away.rename(artifacts)
                except OSError:
                    # Somebody made the folder anew in between: what is in it goes along.
                    for path in [one for one in artifacts.rglob("*") if one.is_file()]:
                        target = away / path.relative_to(artifacts)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        path.replace(target)
                    for path in sorted(artifacts.rglob("*"), reverse=True):
                        path.rmdir()
                    artifacts.rmdir()

    def _wait(self) -> None:
        until = time.monotonic() + END_SECONDS
        while time.monotonic() < until:
            state = self.kizy.get("/v1/queue")
            if state["waiting"] == state["running"] == 0:
                return
            time.sleep(0.2)
        self.report.problems.append("jobs were left over")

    def _check(self) -> None:
        """Read the database and the folder, with nothing running any more."""
        problems = self.report.problems
        with contextlib.closing(sqlite3.connect(self.kizy.home / "jobs.sqlite")) as database:
            jobs = {row[0]: row[1:] for row in database.execute(_JOBS)}
            ends = Counter(
                job_id
                for job_id, data in database.execute("SELECT job_id, data FROM events")
                if json.loads(data)["kind"] == "end"
            )
            files = list(
                database.execute("SELECT job_id, kind, idx, artifact_id FROM job_artifacts")
            )
        if len(self._accepted) != self.count or set(self._accepted) - set(jobs):
            problems.append("an accepted job is not in the table")
        if len(jobs) != self.count:
            problems.append(f"{self.count} jobs were asked for, and {len(jobs)} are in the table")
        pictures = Counter(job_id for job_id, _kind, _index, _file in files)
        for job_id, (state, plan, error) in jobs.items():
            if state not in ENDS:
                problems.append(f"{job_id} is {state}")
            if ends[job_id] != 1:
                problems.append(f"{job_id} ended {ends[job_id]} times")
            if state == "succeeded" and pictures[job_id] != json.loads(plan)["count"]:
                problems.append(f"{job_id} has {pictures[job_id]} pictures")
            if state == "cancelled" and job_id not in self._cancelled:
                problems.append(f"{job_id} was cancelled by nobody")
            if state == "failed":
                code = json.loads(error)["code"]
                self.report.failures[code] = self.report.failures.get(code, 0) + 1
                problems.append(f"{job_id} failed: {json.loads(error)['message']}")
        self.report.states = dict(Counter(state for state, _plan, _error in jobs.values()))
        on_disk = {
            path.name for path in (self.kizy.home / "artifacts").rglob("*") if path.is_file()
        }
        known = {f"{artifact}.png" for _job, _kind, _index, artifact in files}
        if on_disk - known:
            problems.append(f"{len(on_disk - known)} files belong to no job")
        if known - on_disk:
            problems.append(f"{len(known - on_disk)} files of jobs are not there")
        saved = Counter(
            step.split()[0] for fake in self.fakes for step in fake.steps if "SaveImage" in step
        )
        self.report.drawn_again = sum(count - 1 for count in saved.values())


_JOBS = "SELECT id, state, plan, error FROM jobs"


def main() -> None:
    words = argparse.ArgumentParser(description="What is printed stands at the top of this file.")
    words.add_argument("--jobs", type=int, default=300)
    words.add_argument("--servers", type=int, default=3)
    words.add_argument("--kills", type=int, default=12)
    words.add_argument("--seed", type=int, default=None)
    words.add_argument("--json", action="store_true")
    given = words.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="kizy-chaos-") as folder:
        report = Chaos(Path(folder), given.jobs, given.servers, given.kills, seed).run()
    shown = {"seed": seed, **asdict(report)}
    if given.json:
        print(json.dumps(shown))
    else:
        for name, value in shown.items():
            print(f"{name}: {value}")
    if report.problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
