"""A short run of benchmarks/chaos.py: whatever dies, each job ends once with its files alone."""

from __future__ import annotations

from pathlib import Path

from benchmarks.chaos import Chaos


def test_no_job_is_lost_done_twice_or_leaves_a_file_behind(tmp_path: Path) -> None:
    report = Chaos(tmp_path, jobs=30, servers=2, kills=3, seed=7).run()
    assert report.problems == []
    assert sum(report.states.values()) == report.jobs == 30
    assert sum(report.blows.values()) >= 3
    assert report.longest_stop < 10
