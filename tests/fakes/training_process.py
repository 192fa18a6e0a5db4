"""A training's process that trains nothing: it writes the events that a real one writes.

    python training_process.py FOLDER

FOLDER/fake.json says how it goes: {"steps": 20, "pause": 0.0, "end": "well" | "exit" | "kill" |
"memory" | "silent", "at": 10, "child": false}. It keeps the contract of the real ones: it goes on
from its state, saves often, and stops when the file `stop` appears.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main(folder: Path) -> int:
    how = {"steps": 20, "pause": 0.0, "end": "well", "at": 10, "child": False}
    if (folder / "fake.json").exists():
        how |= json.loads((folder / "fake.json").read_text())
    state = folder / "state.json"
    done = json.loads(state.read_text()) if state.exists() else 0
    if how["child"]:
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)"], process_group=0
        )
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        noted = {"pid": child.pid, "started": fields[19]}
        (folder / "child.json").write_text(json.dumps(noted))
    with (folder / "events.jsonl").open("a") as events:

        def say(**values: Any) -> None:
            events.write(json.dumps(values) + "\n")
            events.flush()

        for step in range(done + 1, how["steps"] + 1):
            if (folder / "stop").exists():
                say(kind="end", state="stopped", result=str(folder / "result"), best_step=step - 1)
                return 0
            if step == how["at"] and how["end"] != "well" and not done:
                return _die(how["end"])
            time.sleep(how["pause"])
            loss = 1 / step
            say(kind="step", step=step, steps=how["steps"], loss=loss, smoothed=loss, lr=1e-3)
            if step % 5 == 0:
                say(kind="checkpoint", step=step, path=str(folder / f"step-{step}"))
                say(kind="validation", step=step, loss=loss)
                state.write_text(json.dumps(step))
        path = str(folder / "sample.png")
        say(kind="sample", step=how["steps"], index=0, path=path, prompt="a fox", seed=1)
        end = {"result": str(folder / "result"), "best_step": how["steps"], "why": "the last one"}
        say(kind="end", state="succeeded", **end)
    return 0


def _die(how: str) -> int:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "memory":
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", flush=True)
    elif how == "exit":
        print("Traceback (most recent call last):\nValueError: the rank is odd", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
