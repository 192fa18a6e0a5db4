"""The benchmark of the trainer: what it says of its results, and what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training import machine, table
from benchmarks.training_runs import Job, make_run, summary
from benchmarks.training_sd_scripts import SdScripts


def took(seconds: float, peak: float) -> dict[str, float]:
    steps = [(seconds * number, seconds * number / 2, 0.5) for number in range(24)]
    return summary(steps, peak, peak / 2)


def test_the_ratios_are_kizys_to_each_of_the_others() -> None:
    found = {"plain": [took(2.0, 4e9)], "kizy": [took(1.0, 2e9)], "sd-scripts": [took(4.0, 8e9)]}
    lines = list(table(found))
    assert lines[-2].startswith("kizy / plain: 2.00 x steps a second, 0.50 x CPU time, 0.50 x")
    assert lines[-1].startswith("kizy / sd-scripts: 4.00 x steps a second")
    assert [line.split()[0] for line in lines[1:4]] == list(found)


def test_the_machine_has_a_name() -> None:
    assert "torch" in machine() and len(machine().split(",")[0]) > 3


def test_without_sd_scripts_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SD_SCRIPTS", "SD15"):
        monkeypatch.delenv(f"KIZY_TEST_{name}", raising=False)
    assert SdScripts.found() == "KIZY_TEST_SD_SCRIPTS names no folder of sd-scripts"
    monkeypatch.setenv("KIZY_TEST_SD_SCRIPTS", "/scripts")
    assert SdScripts.found() == "KIZY_TEST_SD15 names no checkpoint"


def test_every_picture_is_shown_often_enough_for_all_steps(tmp_path: Path) -> None:
    plan = make_run(tmp_path, Job(steps=40, base="/base", batch=2, side=64))
    assert plan.family == "sd15" and plan.repeats * 16 >= plan.steps * plan.batch
    assert len(list((tmp_path / "pictures").iterdir())) == 16
