"""How long files are kept."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from kizy.core.errors import UnknownNameError
from kizy.orchestrator.jobs.retention import Retention
from kizy.orchestrator.service import Wish
from kizy.orchestrator.settings import StorageSettings

from tests.waiting import wait_for


def drawn(service: Any, wish: Any, seed: int) -> Any:
    job = service.generate(wish(seed=seed), Wish(fresh=True))
    for _ in service.follow(job.id):
        pass
    return service.job(job.id)


def look(service: Any, **rules: Any) -> Any:
    shared = service._shared
    return Retention(shared.ledger, shared.uploads.store, StorageSettings(**rules)).look()


def test_by_default_everything_is_kept(made: Any, wish: Any) -> None:
    service = made()
    job = drawn(service, wish, 1)
    look(service)
    assert service.artifact(job.artifacts[0].id).path.is_file()


def test_old_files_go_and_their_jobs_say_so(made: Any, wish: Any) -> None:
    service = made()
    old, new = drawn(service, wish, 1), drawn(service, wish, 2)
    table = service._shared.ledger.table
    now = time.time()
    table.now = lambda: now + 10 * 86_400
    service._shared.ledger.finished._now = table.now
    service._shared.ledger.finished.used(new.artifacts[0].id)
    assert look(service, keep_days=5).old == 1
    with pytest.raises(UnknownNameError) as caught:
        service.artifact(old.artifacts[0].id)
    assert caught.value.code == "artifact_gone"
    assert service.job(old.id).artifacts[0].gone
    assert service.artifact(new.artifacts[0].id).path.is_file()
    assert made.files() == {f"{new.artifacts[0].id}.png"}


def test_the_longest_unused_go_when_there_are_too_many_bytes(made: Any, wish: Any) -> None:
    service = made()
    jobs = [drawn(service, wish, seed) for seed in (1, 2, 3)]
    sizes = [job.artifacts[0].bytes for job in jobs]
    look(service, keep_gb=(sizes[1] + sizes[2]) / 1e9)
    assert [service.job(job.id).artifacts[0].gone for job in jobs] == [True, False, False]


def test_what_was_removed_is_drawn_anew(made: Any, wish: Any) -> None:
    service = made()
    drawn(service, wish, 1)
    look(service, keep_gb=1e-9)
    again = service.generate(wish(seed=1))
    for _ in service.follow(again.id):
        pass
    over = service.job(again.id)
    assert not over.from_store and not over.artifacts[0].gone
    assert service.artifact(over.artifacts[0].id).path.is_file()


def test_files_that_no_job_knows_go_and_others_in_the_folder_stay(
    made_in_file: Any, wish: Any
) -> None:
    service = made_in_file()
    job = drawn(service, wish, 1)
    folder = made_in_file.folder / "artifacts"
    orphan, half = folder / "ab" / f"{'ab' * 32}.png", folder / "ab" / f".{'ab' * 32}.png.x.part"
    mine = folder / "ab" / "holiday.png"
    orphan.parent.mkdir(exist_ok=True)
    for path in (orphan, half, mine):
        path.write_bytes(b"x")
    service.close(0.1)
    made_in_file()
    wait_for(lambda: not orphan.exists() and not half.exists())
    assert mine.exists()
    assert f"{job.artifacts[0].id}.png" in made_in_file.files()


def test_old_uploads_go_unless_a_job_waits_for_them(made: Any, wish: Any, tmp_path: Path) -> None:
    from PIL import Image

    service = made()
    ids = []
    for colour in ("red", "blue"):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (8, 8), colour).save(path)
        with path.open("rb") as file:
            ids.append(service.upload(path.name, file).id)
    service.pause(True)
    service.generate(wish(start={"picture": ids[0]}))
    for _, path in service._shared.uploads.store.files():
        os.utime(path, (0, 0))
    # The service's own look may have come first.
    look(service)
    assert [service._shared.uploads.store.find(x) is not None for x in ids] == [True, False]


def test_a_file_that_was_fetched_counts_as_used(made: Any, wish: Any) -> None:
    service = made(storage={"keep_days": 5})
    fetched, other = drawn(service, wish, 1), drawn(service, wish, 2)
    shared = service._shared
    now = time.time()
    shared.ledger.table.now = shared.ledger.finished._now = lambda: now + 10 * 86_400
    service.artifact(fetched.artifacts[0].id)
    assert look(service, keep_days=5).old == 1
    assert [service.job(x.id).artifacts[0].gone for x in (fetched, other)] == [False, True]
