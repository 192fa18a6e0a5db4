"""From a server's JSON to the words of core. Pure; what a newer server adds is passed over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from ....core.job import Job, JobArtifact, JobEvent, Notice
from ...service import JobPage

_Model = TypeVar("_Model", bound=BaseModel)
_EVENTS: TypeAdapter[JobEvent] = TypeAdapter(JobEvent)


class UnreadableError(ValueError):
    """The JSON is not what belongs there."""


def read(kind: type[_Model], values: Any) -> _Model:
    """One value; fields that are not known here do not matter. Raises UnreadableError."""
    try:
        return kind.model_validate(values, extra="ignore")
    except ValidationError as error:
        raise UnreadableError(_first(error)) from None


def read_all(kind: type[_Model], values: Any) -> tuple[_Model, ...]:
    """A list; entries of a form that only a newer Kizy knows are left out."""
    if not isinstance(values, list):
        raise UnreadableError("a list belongs there")
    return tuple(_readable(kind, values))


def read_job(values: Any) -> Job:
    """A job. An artifact or notice of a form that only a newer Kizy knows is left out; of other
    parts Job itself says what becomes of them."""
    try:
        return read(Job, values)
    except UnreadableError:
        if not isinstance(values, dict):
            raise
    plain = dict(values)
    for name, kind in (("artifacts", JobArtifact), ("notices", Notice)):
        if isinstance(plain.get(name), list):
            plain[name] = tuple(_readable(kind, plain[name]))
    return read(Job, plain)


def read_page(values: Any) -> JobPage:
    """A page of jobs. Raises UnreadableError."""
    if not isinstance(values, dict) or not isinstance(values.get("jobs"), list):
        raise UnreadableError("a page of jobs belongs there")
    jobs = tuple(read_job(one) for one in values["jobs"])
    following = values.get("next")
    return JobPage(jobs=jobs, next=following if isinstance(following, str) else None)


def read_event(values: Any) -> JobEvent | None:
    """An event; None for one of a kind that is not known here. Raises UnreadableError."""
    if not isinstance(values, Mapping):
        raise UnreadableError("an event belongs there")
    values = dict(values)
    if values.get("kind") == "state":
        values["job"] = read_job(values.get("job"))
    try:
        return _EVENTS.validate_python(values, extra="ignore")
    except ValidationError as error:
        if any(one["type"] == "union_tag_invalid" for one in error.errors(include_url=False)):
            return None
        raise UnreadableError(_first(error)) from None


def _readable(kind: type[_Model], values: Iterable[Any]) -> Iterable[_Model]:
    for one in values:
        try:
            yield kind.model_validate(one, extra="ignore")
        except ValidationError:
            continue


def _first(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in detail["loc"])
    return f"{where}: {detail['msg']}" if where else detail["msg"]
