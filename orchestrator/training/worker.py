"""Trains for another program, such as ComfyUI: `kizy.orchestrator.training.worker`, a process.

On stdin comes one line of JSON, a TrainingRequest; "stop" on a further line, or the end of stdin,
asks it to save, publish what there is, and end. On stdout go lines of JSON: `{"kind": "doing"}`
with `fraction` and `text` while pictures are looked at, `{"kind": "run"}` with `path`, then the
training's own events (trainer/events.py); the last one is of kind "end". The same request over
the same pictures again gives the LoRA that is there, or goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.errors import CancelledError, KizyError
from ...core.files import replacing, sha256_of
from ...core.job import ErrorInfo
from ...core.request import TrainingRequest, parse_request
from ...trainer.events import EndEvent
from ...trainer.run_folder import RunFolder, list_runs
from ..settings import load_settings

KEY_FILE = "same-as.txt"
"""In a run's folder: what the run was asked for, pictures included, as a hash."""


def main() -> None:
    """Read the request, train, say how it goes. The exit status is 0 also for a training that
    failed: the end event says so."""
    stopped = threading.Event()
    try:
        values = json.loads(sys.stdin.readline())
        # A daemon: nothing waits for the other program to close the pipe.
        threading.Thread(target=_watch, args=(stopped,), daemon=True).start()
        _train(parse_request(TrainingRequest, values), stopped)
    except CancelledError:
        _say(EndEvent(state="stopped").model_dump(mode="json"))
    except KizyError as error:
        end = EndEvent(state="failed", error=ErrorInfo(**error.as_dict()))
        _say(end.model_dump(mode="json"))


def _train(request: TrainingRequest, stopped: threading.Event) -> None:
    from .trainer import make_trainer

    trainer = make_trainer(load_settings())
    key = key_of(request)
    run = same_run(key)
    if run is None:
        run = trainer.prepare(
            request,
            progress=lambda fraction, text: _say(
                {"kind": "doing", "fraction": fraction, "text": text}
            ),
            cancelled=stopped.is_set,
        )
        with replacing(run.path / KEY_FILE) as temporary:
            temporary.write_text(key)
    _say({"kind": "run", "path": str(run.path), "steps": run.plan().steps})
    if run.state() == "succeeded":
        last = run.all_events()[-1]
        _say(last.model_dump(mode="json"))
        return
    handle = trainer.resume(run)
    if stopped.is_set():
        trainer.stop(handle)
    else:
        threading.Thread(target=lambda: (stopped.wait(), trainer.stop(handle)), daemon=True).start()
    for event in trainer.follow(handle):
        _say(event.model_dump(mode="json"))


def key_of(request: TrainingRequest) -> str:
    """The same for the same wish over the same pictures, wherever these lie."""
    values = request.model_dump(mode="json", exclude={"files", "owner"})
    values["files"] = sorted(sha256_of(path) for path in _files(map(Path, request.files)))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def same_run(key: str) -> RunFolder | None:
    """A run of that key that is done, with its LoRA still there, or that can go on."""
    for run in list_runs():
        try:
            if (run.path / KEY_FILE).read_text().strip() != key:
                continue
        except (OSError, ValueError):
            continue
        if run.state() != "succeeded":
            return run
        last = run.all_events()[-1]
        if isinstance(last, EndEvent) and last.result and Path(last.result).is_file():
            return run
    return None


def _files(given: Iterable[Path]) -> Iterable[Path]:
    for path in given:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.is_file())
        elif path.is_file():
            yield path


def _watch(stopped: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "stop":
            break
    stopped.set()


def _say(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
