"""Finished files of a Service, saved where a person wants them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from ....core.files import replacing, write_new
from ....core.job import Artifact, Job, JobArtifact
from ...service import ArtifactFile, Service
from ...storage.pictures import file_names


def save_pictures(service: Service, job: Job, folder: Path) -> Iterator[Artifact]:
    """Save a drawing's pictures, each under a name as drawing in process gives it.

    Those that are gone are passed over. Raises KizyError.
    """
    for one in job.artifacts:
        if one.kind == "picture" and not one.gone and job.plan is not None:
            plan = job.plan.for_picture(one.index)
            data = service.artifact(one.id).path.read_bytes()
            yield Artifact(
                id=one.id,
                path=str(write_new(folder, file_names(plan, datetime.now()), data)),
                media_type=one.media_type,
                width=one.width or plan.output_width,
                height=one.height or plan.output_height,
                seed=one.seed if one.seed is not None else plan.seed,
                plan=plan,
            )


def save_file(file: ArtifactFile, artifact: JobArtifact, folder: Path) -> Path:
    """Save a file below `folder` under its own name, or with a number. Raises StorageError."""
    path = _free(folder, Path(artifact.name).name or artifact.id)
    with replacing(path) as temporary:
        shutil.copyfile(file.path, temporary)
    return path


def _free(folder: Path, name: str) -> Path:
    return next(path for path in _paths(folder, name) if not path.exists())


def _paths(folder: Path, name: str) -> Iterable[Path]:
    plain = Path(name)
    yield folder / plain
    number = 2
    while True:
        yield folder / f"{plain.stem}-{number}{plain.suffix}"
        number += 1
