"""`kizy serve` keeps its threads on one core; what computes for it has all of them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "catalog", "language", "imaging", "drawing", "trainer", "orchestrator", "nodes")

# The first calls of all that counts cores, from a thread that has one: what a server's threads do.
PLANS = """
import json, os, sys
from kizy.orchestrator.cli import serve
if sys.argv[1] == "shared":
    serve._share_one_core()
    assert len(os.sched_getaffinity(0)) == 1
from kizy.core.request import GenerationRequest
from kizy.orchestrator.app import App
from kizy.orchestrator.planning.models import local_memory
from kizy import language

app = App()
{calls}
from kizy.core.cores import all_cores
with all_cores():
    import torch
print(json.dumps(torch.get_num_threads()))
"""

CALLS = {
    "planning": 'app.plan(GenerationRequest(prompt="a red fox"))',
    "meaning": 'language.embed(["a red fox"])',
    "prompt": 'language.encode(["a red fox"])',
    "memory": "local_memory()",
    "engine": 'app.engine("embedded").capabilities()',
}


@pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux and more than one core",
)
@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_torch_counts_all_cores(calls: str, kizy_home: Path) -> None:
    code = PLANS.replace("{calls}", calls)
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}

    def threads(how: str) -> str:
        words = [sys.executable, "-c", code, how]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=300, env=environment, cwd=kizy_home
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert threads("shared") == threads("alone")


def test_processes_are_started_on_all_cores() -> None:
    """By `core.launch.open_process`, wherever they live on."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and "Popen" in ast.unparse(node.func)
    ]
    assert len(found) == 1, found
    assert found[0].startswith("core/launch.py")
