"""Resources: jobs and finished pictures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from PIL import Image

Speak = Callable[..., None]


def test_jobs_and_pictures_are_listed_newest_first(speak: Speak, mode: str) -> None:
    async def conversation(talk: Any) -> None:
        for prompt in ("a fox", "a dog"):
            await talk.call("generate", prompt=prompt)
        listed = (await talk.client.list_resources()).resources
        assert [one.title for one in listed] == [
            "succeeded: a dog",
            "a dog",
            "succeeded: a fox",
            "a fox",
        ]
        assert all(str(one.uri).startswith("kizy://") for one in listed)

    speak(conversation, mode=mode)


def test_a_long_list_comes_in_pages(speak: Speak, held: Any) -> None:
    async def conversation(talk: Any) -> None:
        for number in range(25):
            await talk.call("generate", prompt=f"fox {number}", wait=False)
        first = await talk.client.list_resources()
        rest = await talk.client.list_resources(cursor=first.next_cursor)
        assert (len(first.resources), len(rest.resources), rest.next_cursor) == (20, 5, None)

    speak(conversation, service=held)


def test_a_picture_is_read_as_it_was_drawn(speak: Speak, mode: str) -> None:
    async def conversation(talk: Any) -> None:
        drawn = await talk.call("generate", prompt="a fox", size="96x64")
        file = drawn.facts["files"][0]
        content = (await talk.client.read_resource(file["uri"])).contents[0]
        data = base64.b64decode(content.blob)
        assert data == talk.service.artifact(file["id"]).path.read_bytes()
        assert Image.open(io.BytesIO(data)).size == (96, 64)
        assert content.mime_type == "image/png"

    speak(conversation, mode=mode)


def test_a_job_is_read_as_json(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        drawn = await talk.call("generate", prompt="a fox")
        uri = f"kizy://jobs/{drawn.facts['job_id']}"
        content = (await talk.client.read_resource(uri)).contents[0]
        assert json.loads(content.text) == drawn.facts

    speak(conversation)


def test_the_two_forms_of_addresses_are_told(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        listed = (await talk.client.list_resource_templates()).resource_templates
        assert [one.uri_template for one in listed] == [
            "kizy://artifacts/{id}",
            "kizy://jobs/{id}",
        ]

    speak(conversation)


@pytest.mark.parametrize(
    "uri",
    [
        "kizy://jobs/nobodys",
        f"kizy://artifacts/{'0' * 64}",
        "kizy://artifacts/../../etc/passwd",
        "file:///etc/passwd",
        "kizy://keys/1",
    ],
)
def test_what_is_not_there_is_an_error_of_the_protocol(speak: Speak, uri: str, mode: str) -> None:
    async def conversation(talk: Any) -> None:
        with pytest.raises(MCPError) as refused:
            await talk.client.read_resource(uri)
        assert refused.value.error.code == -32602
        assert refused.value.error.data["code"].endswith("_unknown")

    speak(conversation, mode=mode)


def test_a_mistake_of_kizys_tells_none_of_its_words(
    speak: Speak, service: Any, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    service.raises["jobs"] = ZeroDivisionError("/home/somebody/secret")

    async def conversation(talk: Any) -> None:
        with pytest.raises(MCPError) as refused:
            await talk.client.list_resources()
        assert refused.value.error.data["code"] == "server_mistake"
        assert "secret" not in str(refused.value)

    speak(conversation, mode=mode)
    assert "secret" in caplog.text


def test_a_lora_is_no_picture_to_read(speak: Speak, picture: Any, as_url: Any) -> None:
    async def conversation(talk: Any) -> None:
        begun = await talk.call("train", name="mimi", pictures=[as_url(picture())])
        done = await talk.call("job_status", job_id=begun.data["job_id"])
        with pytest.raises(MCPError, match="no picture"):
            await talk.client.read_resource(done.facts["files"][0]["uri"])

    speak(conversation)


def test_a_picture_that_was_removed_by_age_is_told_so(speak: Speak, service: Any) -> None:
    async def conversation(talk: Any) -> None:
        drawn = await talk.call("generate", prompt="a fox")
        service.lose(drawn.facts["files"][0]["id"])
        status = await talk.call("job_status", job_id=drawn.facts["job_id"])
        assert status.images == []
        assert "removed by age" in status.text
        with pytest.raises(MCPError) as refused:
            await talk.client.read_resource(drawn.facts["files"][0]["uri"])
        assert refused.value.error.data["code"] == "artifact_gone"

    speak(conversation)
