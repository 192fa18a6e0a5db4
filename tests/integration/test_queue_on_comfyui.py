"""The queue of `kizy serve` on a real ComfyUI, while Kizy, ComfyUI, and both of them are killed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import requests

from benchmarks.kizy_server import KizyServer, servers_setting
from tests.integration.conftest import RunningComfyUI

PATIENCE = 300.0
JOBS = 4


def posted(kizy: KizyServer, number: int) -> str:
    body = {"prompt": f"a red fox, {number}", "seed": number * 10, "count": 2, "steps": 12}
    answer = requests.post(f"{kizy.url}/v1/generations", json={**body, "enlarge": None}, timeout=60)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def until_one_runs(kizy: KizyServer, ids: list[str]) -> None:
    """Until some picture is being drawn."""
    until = time.monotonic() + PATIENCE
    while not any(0.05 < job["progress"] < 1 for job in seen(kizy, ids)):
        assert time.monotonic() < until, "nothing began"
        time.sleep(0.05)


def seen(kizy: KizyServer, ids: list[str]) -> list[dict[str, Any]]:
    return [kizy.get(f"/v1/jobs/{job_id}") for job_id in ids]


def test_every_job_ends_once_with_its_pictures_whatever_is_killed(
    comfyui: RunningComfyUI, tmp_path: Path
) -> None:
    kizy = KizyServer(
        tmp_path / "home",
        {
            "KIZY_ENGINE": "comfyui",
            "KIZY_SERVERS": servers_setting({"real": comfyui.url}),
            "KIZY_LORAS__BACKGROUND": "false",
        },
    )
    kizy.start()
    try:
        ids = [posted(kizy, number) for number in range(JOBS)]
        until_one_runs(kizy, ids)
        kizy.kill()
        kizy.start()
        until_one_runs(kizy, ids)
        comfyui.kill()
        comfyui.start_again()
        until_one_runs(kizy, ids)
        kizy.kill()
        comfyui.kill()
        comfyui.start_again()
        kizy.start()
        until = time.monotonic() + PATIENCE
        while any(job["state"] in ("queued", "running") for job in seen(kizy, ids)):
            assert time.monotonic() < until, "jobs were left over"
            time.sleep(0.2)
        jobs = seen(kizy, ids)
    finally:
        kizy.kill()
    assert [job["state"] for job in jobs] == ["succeeded"] * JOBS
    assert [len(job["artifacts"]) for job in jobs] == [2] * JOBS
    known = {file["id"] for job in jobs for file in job["artifacts"]}
    files = (tmp_path / "home" / "artifacts").rglob("*")
    assert {path.stem for path in files if path.is_file()} == known
    assert len(known) == 2 * JOBS
