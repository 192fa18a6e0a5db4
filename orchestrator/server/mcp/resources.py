"""Resources: kizy://artifacts/ID is a finished file, kizy://jobs/ID how a job is."""

from __future__ import annotations

import base64
import re

from mcp import types
from mcp.shared.exceptions import MCPError

from ....core.errors import InputError, KizyError, UnknownNameError
from ...service import JobQuery, Service
from .result_schemas import Link, job_facts
from .shown import MAX_MESSAGE, for_message

PAGE = 20
"""Jobs that a page of the list is made from."""

TEMPLATES = (
    types.ResourceTemplate(
        name="artifact",
        title="A finished picture",
        uri_template="kizy://artifacts/{id}",
        description="The picture as it was drawn; a large one is scaled down to fit a message.",
    ),
    types.ResourceTemplate(
        name="job",
        title="A job",
        uri_template="kizy://jobs/{id}",
        description="State, progress and files of a job.",
        mime_type="application/json",
    ),
)

_URI = re.compile("kizy://(artifacts|jobs)/([0-9A-Za-z-]{1,80})")


def listed(service: Service, cursor: str | None) -> types.ListResourcesResult:
    """The latest jobs and their pictures, newest first. Raises KizyError."""
    page = service.jobs(JobQuery(limit=PAGE, cursor=cursor))
    found: list[types.Resource] = []
    for job in page.jobs:
        found.append(
            types.Resource(
                name=f"job-{job.id}",
                title=f"{job.state}: {job.title[:80]}",
                uri=f"kizy://jobs/{job.id}",
                mime_type="application/json",
            )
        )
        found += [
            types.Resource(
                name=one.name,
                title=job.title[:80],
                uri=f"kizy://artifacts/{one.id}",
                mime_type=one.media_type,
                size=one.bytes,
            )
            for one in job.artifacts
            if not one.gone and one.media_type.startswith("image/")
        ]
    return types.ListResourcesResult(resources=found, next_cursor=page.next)


def content(service: Service, uri: str, link: Link) -> types.ReadResourceResult:
    """A resource. Raises KizyError: UnknownNameError for one that is not there."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise UnknownNameError("artifact_unknown", "There is no such resource.")
    if found[1] == "jobs":
        facts = job_facts(service.job(found[2]), link)
        text = facts.model_dump_json(indent=1)
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=uri, mime_type="application/json", text=text)]
        )
    data, kind = _picture(service, found[2])
    blob = base64.b64encode(data).decode("ascii")
    return types.ReadResourceResult(
        contents=[types.BlobResourceContents(uri=uri, mime_type=kind, blob=blob)]
    )


def refused(error: KizyError) -> MCPError:
    """A KizyError as an answer of the protocol: what was asked for is wrong, or is not there."""
    wrong = isinstance(error, InputError)
    code = types.INVALID_PARAMS if wrong else types.INTERNAL_ERROR
    return MCPError(code=code, message=f"{error.message} {error.fix}", data=error.as_dict())


def _picture(service: Service, artifact_id: str) -> tuple[bytes, str]:
    """The file as it is if it fits into a message, else the picture scaled down."""
    file = service.artifact(artifact_id)
    if not file.media_type.startswith("image/"):
        message = f"{file.name} is no picture, and too large for a message."
        fix = "The person gets the file by the job's link or from Kizy's own folders."
        raise InputError("request_invalid", message, fix=fix)
    if file.path.stat().st_size > MAX_MESSAGE:
        return for_message(file.path)
    return file.path.read_bytes(), file.media_type
