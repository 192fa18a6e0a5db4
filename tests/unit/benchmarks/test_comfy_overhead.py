"""The benchmark of the ComfyUI engine runs; what it measures is not looked at."""

from __future__ import annotations

from pathlib import Path

from kizy.core.picture_files import read_plan

from benchmarks.comfy_overhead import FAKE_PLAN, added, lines_of, throughput
from benchmarks.fake_comfyui import fakes


def test_both_draw_all_jobs_and_are_reported(tmp_path: Path) -> None:
    with fakes(1, 0.0) as (url,):
        result = added(url, tmp_path, FAKE_PLAN, 2)
    drawn = list((tmp_path / "kizy").glob("*.png"))
    # Two warm up.
    assert len(drawn) == len(list((tmp_path / "bare").glob("*.png"))) == 4
    assert all(read_plan(path).prompt == FAKE_PLAN.prompt for path in drawn)
    assert [line.split()[0] for line in lines_of({"fake": result})][1:4] == [
        "bare",
        "kizy",
        "added",
    ]


def test_several_servers_draw_all_pictures(tmp_path: Path) -> None:
    result = throughput(2, tmp_path, 6, 0.01)
    assert len(list((tmp_path / "kizy").glob("*.png"))) == 6
    assert len(list((tmp_path / "bare").rglob("*.png"))) == 6
    assert 0 < result["share_of_ideal"] <= 1 and 0 < result["bare_share_of_ideal"] <= 1
    assert result["share_of_bare"] > 0
    assert "of the bare loops" in next(lines_of({"servers": [result]}))
    assert 0 < result["servers_busy"] <= 1
