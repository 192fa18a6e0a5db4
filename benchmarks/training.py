"""The built-in trainer beside a plain diffusers and peft loop, and beside sd-scripts, in one run.

    python -m benchmarks.training [--steps N] [--rounds N] [--threads N] [--precision fp32]
        [--base FOLDER] [--only starter|sd15]

The same model, pictures, captions, rank, batch, optimizer and precision; each in a process of its
own, in turns. First the starter, 40 steps, Kizy and the plain loop, both with cached latents and
texts. Then Stable Diffusion 1.5's shapes, with sd-scripts: 12 steps at 64 x 64 pixels on a CPU, 60
at 512 x 512 on a GPU. For that some variables name sd-scripts and a checkpoint (see
training_sd_scripts.py); without them it is left out. `--base` trains a diffusers folder of Stable
Diffusion 1.5 instead, without sd-scripts.

Printed: the machine; steps a second behind the first ten, or behind the first half of fewer than
twenty (the fastest round of each, and the median of the ratios); seconds of CPU time that a step
takes (with one thread each it tells the same on a busy machine); peak memory of the process (on a
GPU: of the GPU), in all and from the first step on; the mean loss of the last half of the steps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from .training_runs import Job, kizy, make_run, plain
from .training_sd_scripts import SdScripts, diffusers_folder, sd_scripts

RATIOS = {
    "pace": "steps a second",
    "work": "CPU time",
    "peak": "memory",
    "training": "memory in steps",
}
Results = dict[str, list[dict[str, float]]]


def machine() -> str:
    """What trains, by name."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    name = platform.processor()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = cpu.read_text().splitlines()
        name = next((x.partition(":")[2].strip() for x in lines if "model name" in x), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"no GPU; CPU {name or platform.machine()}, {cores} cores, torch {torch.__version__}"


def child(which: str, job: Job) -> dict[str, float]:
    """One training, in this process, in a home of its own."""
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    with tempfile.TemporaryDirectory() as name:
        os.environ["KIZY_HOME"] = name
        folder = Path(name) / "run"
        plan = make_run(folder, job)
        if which == "sd-scripts":
            assert job.checkpoint is not None
            return sd_scripts(folder, plan, Path(job.checkpoint))
        return (kizy if which == "kizy" else plain)(folder, plan)


def measured(which: str, job: Job) -> dict[str, float]:
    """One training, in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.training", "--child", which]
    words += ["--job", json.dumps(job)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def in_turns(names: tuple[str, ...], job: Job, rounds: int) -> Results:
    """Each of the names, round after round, so that a busy moment meets all of them."""
    found: Results = {name: [] for name in names}
    for _ in range(rounds):
        for name, results in found.items():
            results.append(measured(name, job))
            pace, peak = results[-1]["pace"], results[-1]["peak"] / 1e6
            print(f"{name}: {pace:.3f} steps/s, {peak:.0f} MB", file=sys.stderr)
    return found


def table(found: Results) -> Iterator[str]:
    """The results as lines, and Kizy's ratios to the others."""
    yield f"{'':12}steps/s   CPU s/step   peak MB   in steps   loss of the last half"
    for name, results in found.items():
        pace, peak = max(r["pace"] for r in results), min(r["peak"] for r in results)
        work, training = (min(r[key] for r in results) for key in ("work", "training"))
        loss = statistics.mean(r["loss"] for r in results)
        noise = statistics.mean(r["noise"] for r in results)
        numbers = f"{pace:7.3f}{work:13.3f}{peak / 1e6:10.0f}{training / 1e6:11.0f}"
        yield f"{name:12}{numbers}   {loss:.4f} +- {noise:.4f}"
    for other in found:
        if other == "kizy":
            continue
        ratios = []
        for key, what in RATIOS.items():
            pairs = zip(found["kizy"], found[other], strict=True)
            ratios.append(f"{statistics.median(a[key] / b[key] for a, b in pairs):.2f} x {what}")
        yield f"kizy / {other}: {', '.join(ratios)}"


def starter(given: argparse.Namespace) -> Iterator[str]:
    job = Job(given.steps or 40, precision=given.precision, threads=given.threads)
    yield f"The starter: {job.steps} steps of batch {job.batch} at {job.side} x {job.side}"
    yield from table(in_turns(("plain", "kizy"), job, given.rounds or 3))


def stable_diffusion(given: argparse.Namespace) -> Iterator[str]:
    """SD 1.5's shapes: of the folder that is named, or of the checkpoint that sd-scripts gets."""
    gpu = torch.cuda.is_available()
    side, batch = (512, 4) if gpu else (64, 1)
    steps = given.steps or (60 if gpu else 12)
    names: tuple[str, ...] = ("plain", "kizy")
    with tempfile.TemporaryDirectory() as name:
        checkpoint = None
        if given.base is not None:
            base = given.base.resolve()
        else:
            place = SdScripts.found()
            if isinstance(place, str):
                yield f"Stable Diffusion 1.5 beside sd-scripts is left out: {place}."
                return
            names, checkpoint = (*names, "sd-scripts"), str(place.checkpoint)
            base = diffusers_folder(place.checkpoint, Path(name) / "sd15", place.tokenizers)
        # Told to all of them: left to itself, sd-scripts would take one.
        threads = given.threads or (None if gpu else torch.get_num_threads())
        job = Job(steps, str(base), checkpoint, batch, side, given.precision, threads)
        yield f"Stable Diffusion 1.5: {steps} steps of batch {batch} at {side} x {side}"
        yield from table(in_turns(names, job, given.rounds or 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--only", choices=("starter", "sd15"))
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--child", choices=("kizy", "plain", "sd-scripts"), help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.child, Job(*json.loads(given.job)))))
        return
    if given.precision == "fp16" and not torch.cuda.is_available():
        parser.error("no CPU trains in fp16: take fp32 or bf16")
    only = given.only or ("sd15" if given.base is not None else None)
    print(f"Machine: {machine()}; precision {given.precision}")
    if only != "sd15":
        print(*starter(given), sep="\n")
    if only != "starter":
        print(*stable_diffusion(given), sep="\n")


if __name__ == "__main__":
    main()
