"""Threads that share a core, and that what computes leaves it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHARES = """
import json, os, subprocess, sys, threading
from kizy.core import cores, launch

def mine():
    return len(os.sched_getaffinity(0))

def in_a_thread(does):
    said = []
    thread = threading.Thread(target=lambda: said.append(does()))
    thread.start()
    thread.join()
    return said[0]

COUNT = [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"]
before = in_a_thread(mine)
cores.share_one_core()
found = {"before": before, "shared": mine(), "thread": in_a_thread(mine), "count": cores.count()}
with cores.all_cores():
    found |= {"inside": mine(), "thread inside": in_a_thread(mine)}
found["after"] = mine()
with launch.open_process(COUNT, stdout=subprocess.PIPE) as child:
    found["process"] = int(child.stdout.read())
found["still"] = mine()
cores.share_one_core()
found["count, shared twice"] = cores.count()
cores.leave_shared_core()
found["left"] = mine()
print(json.dumps(found))
"""

UNASKED = """
import os
from kizy.core import cores

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
with cores.all_cores():
    assert len(os.sched_getaffinity(0)) == 1
cores.leave_shared_core()
assert len(os.sched_getaffinity(0)) == cores.count() == 1
"""

several = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux and more than one core",
)


def run(code: str) -> str:
    """What Python prints of it, in a process of its own: cores are never shared in this one."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@several
def test_threads_share_a_core_and_what_computes_leaves_it() -> None:
    import json

    everything = len(os.sched_getaffinity(0))
    found = json.loads(run(SHARES))
    shared = ("shared", "thread", "after", "still")
    assert {name: found.pop(name) for name in shared} == dict.fromkeys(shared, 1)
    assert found == dict.fromkeys(found, everything)
    assert len(found) == 7


@several
def test_nothing_happens_where_nobody_asked() -> None:
    run(UNASKED)
