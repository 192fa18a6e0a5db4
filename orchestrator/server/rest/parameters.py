"""What handlers take from paths, queries and headers."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Path
from pydantic import AwareDatetime, Field, model_validator

from ....core.errors import UnknownNameError
from ....core.request import GenerationRequest, TrainingRequest, whole_texts
from ...service import Wish
from .auth import Caller

TEXT = r"^[^\x00]*$"
"""Databases hold no null characters."""

_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ARTIFACT = re.compile(r"[0-9a-f]{64}")

EXAMPLE_JOB_ID = "5f0c1a52-6f0e-4c1b-9a57-0a4f5f6f2d11"
EXAMPLE_FILE_ID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def job_id_in_path(
    job_id: Annotated[str, Path(description="A job's id.", examples=[EXAMPLE_JOB_ID])],
) -> str:
    """Raises UnknownNameError `job_unknown` for what is no id."""
    if not _JOB.fullmatch(job_id):
        raise UnknownNameError("job_unknown", f"There is no job {job_id[:80]}.")
    return job_id


def artifact_id_in_path(
    artifact_id: Annotated[
        str, Path(description="A file's id: sha256 of its content.", examples=[EXAMPLE_FILE_ID])
    ],
) -> str:
    """Raises UnknownNameError `artifact_unknown` for what is no id."""
    if not _ARTIFACT.fullmatch(artifact_id):
        raise UnknownNameError("artifact_unknown", f"There is no file {artifact_id[:80]}.")
    return artifact_id


JobId = Annotated[str, Depends(job_id_in_path)]
ArtifactId = Annotated[str, Depends(artifact_id_in_path)]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Of your making: the same key again gives the same job, and no second one.",
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        examples=["order-4711"],
    ),
]


class GenerationBody(GenerationRequest):
    """A wish. Everything but the prompt may be left out, or be "auto".

    Pictures are named by the ids of uploads or artifacts. `fresh`: draw, also if the same was
    drawn before. `raw`: keep the size that the model draws. `deadline`: when it is of no use any
    more.
    """

    fresh: bool = False
    raw: bool = False
    deadline: AwareDatetime | None = Field(default=None, examples=["2030-01-01T12:00:00Z"])

    @model_validator(mode="before")
    @classmethod
    def _no_null(cls, values: Any) -> Any:
        return without_null(values)

    def request(self, asking: Caller) -> GenerationRequest:
        """What is to be drawn, for whom."""
        return as_request(GenerationRequest, self, asking)

    def wish(self, idempotency_key: str | None) -> Wish:
        return Wish(self.fresh, self.deadline, idempotency_key, self.raw)


class TrainingBody(TrainingRequest):
    """A training of files that were uploaded before. `deadline`: when it is of no use any more."""

    deadline: AwareDatetime | None = Field(default=None, examples=["2030-01-01T12:00:00Z"])

    @model_validator(mode="before")
    @classmethod
    def _no_null(cls, values: Any) -> Any:
        return without_null(values)

    def request(self, asking: Caller) -> TrainingRequest:
        """What is to be trained, for whom."""
        return as_request(TrainingRequest, self, asking)

    def wish(self, idempotency_key: str | None) -> Wish:
        return Wish(deadline=self.deadline, idempotency_key=idempotency_key)


def as_request(kind: Any, body: Any, asking: Caller) -> Any:
    """The request in a body that has more fields; its owner is who sends it."""
    given = body.model_fields_set & set(kind.model_fields)
    values = {name: getattr(body, name) for name in given}
    owner = asking.owner_of(values.get("owner"))
    return kind(**values | ({"owner": owner} if owner is not None else {}))


def without_null(values: Any) -> Any:
    """The same with whole characters. Raises ValueError for texts with null characters, which no
    database holds."""
    _require_no_null(values)
    return whole_texts(values)


def _require_no_null(values: Any) -> None:
    if isinstance(values, str) and "\0" in values:
        raise ValueError("texts hold no null characters")
    if isinstance(values, dict):
        for key, value in values.items():
            _require_no_null(key)
            _require_no_null(value)
    elif isinstance(values, list | tuple):
        for value in values:
            _require_no_null(value)
