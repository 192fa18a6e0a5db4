"""Fake ComfyUI servers in processes of their own, so that they share no interpreter with Kizy.

    python -m benchmarks.fake_comfyui SECONDS

prints the address of one whose samplers take that long, and ends with its input.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

CHECKPOINT = "v1-5-pruned-emaonly.safetensors"
"""The only model that they list."""

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def fakes(count: int, seconds: float) -> Iterator[list[str]]:
    """Addresses of `count` servers whose samplers take `seconds`, all other nodes nothing."""
    command = [sys.executable, "-m", "benchmarks.fake_comfyui", str(seconds)]
    with ExitStack() as stack:
        processes: list[subprocess.Popen[str]] = []
        for _ in range(count):
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            # Leaving it closes the pipes, at which the server ends, and waits for that.
            processes.append(stack.enter_context(process))
        yield [_first_line(process) for process in processes]


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise SystemExit("A fake ComfyUI did not start; its reason stands above.")
    return line


def main() -> None:
    from tests.fakes.comfyui import FakeComfyUI

    seconds = float(sys.argv[1])

    def cost(name: str, inputs: Mapping[str, Any]) -> float:
        return seconds if name == "KSampler" else 0.0

    with FakeComfyUI(models={"checkpoints": [CHECKPOINT]}, cost=cost) as fake:
        print(fake.url, flush=True)
        # Ctrl-C is the benchmark's to hear: it closes the input then.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdin.read()


if __name__ == "__main__":
    main()
