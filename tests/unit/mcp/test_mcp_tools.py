"""What the tools say of themselves, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from kizy.core.errors import EngineError
from kizy.orchestrator.server.mcp.tools import TOOLS
from mcp.shared.exceptions import MCPError

Speak = Callable[..., None]
EIGHT = [
    "generate",
    "edit",
    "improve",
    "train",
    "find_loras",
    "explain_plan",
    "job_status",
    "cancel_job",
]
READING = {"find_loras", "explain_plan", "job_status"}


def test_the_eight_tools_are_listed_with_title_and_description(speak: Speak, mode: str) -> None:
    async def conversation(talk: Any) -> None:
        listed = (await talk.client.list_tools()).tools
        assert [tool.name for tool in listed] == EIGHT
        assert all(tool.title and len(tool.description or "") > 80 for tool in listed)

    speak(conversation, mode=mode)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_tools_schemas_are_valid_and_plain(tool: Any) -> None:
    listed = tool.listed()
    Draft202012Validator.check_schema(listed.input_schema)
    Draft202012Validator.check_schema(listed.output_schema or {})
    text = str(listed.input_schema)
    assert all(word not in text for word in ("$ref", "anyOf", "null", "'title'"))
    required = listed.input_schema.get("required", [])
    assert list(listed.input_schema["properties"])[: len(required)] == required


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_argument_says_what_it_is_or_what_it_may_be(tool: Any) -> None:
    for name, argument in tool.listed().input_schema["properties"].items():
        assert argument.get("description") or argument.get("enum"), name


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_only_reading_tools_are_marked_so_and_only_cancelling_destroys(tool: Any) -> None:
    assert tool.hints.read_only_hint is (tool.name in READING)
    assert tool.hints.destructive_hint is (tool.name == "cancel_job")


def test_a_drawing_comes_back_as_a_picture_with_its_id_seed_and_reasons(
    speak: Speak, mode: str
) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("generate", prompt="a red fox", seed=5, size="96x64")
        assert not answer.failed
        assert [picture.size for picture in answer.pictures] == [(96, 64)]
        artifact = (await talk.the_job()).artifacts[0]
        assert all(words in answer.text for words in (artifact.id, "seed 5", "it is there"))
        assert answer.facts["files"][0]["id"] == artifact.id
        assert answer.facts["state"] == "succeeded"

    speak(conversation, mode=mode)


def test_an_answer_with_pictures_has_no_structured_content(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("generate", prompt="a red fox")
        # Clients that find structured content show the model nothing else.
        assert answer.data is None

    speak(conversation)


def test_four_of_many_pictures_are_shown_and_all_are_named(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("generate", prompt="a red fox", count=6)
        assert len(answer.images) == 4
        job = await talk.the_job()
        assert all(artifact.id in answer.text for artifact in job.artifacts)
        assert "2 more" in answer.text

    speak(conversation)


def test_the_same_again_comes_from_the_store_and_fresh_is_drawn(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        first = await talk.call("generate", prompt="a red fox")
        again = await talk.call("generate", prompt="a red fox")
        fresh = await talk.call("generate", prompt="a red fox", fresh=True)
        assert [one.facts["from_store"] for one in (first, again, fresh)] == [False, True, False]
        assert "drawn before" in again.text

    speak(conversation)


def test_what_is_wished_for_is_asked_of_the_service(speak: Speak) -> None:
    wished = {
        "negative": "people",
        "model": "painter-xl",
        "style": "cartoon",
        "size": "64x96",
        "quality": "draft",
        "steps": 3,
        "guidance": 2.5,
        "seed": 9,
    }

    async def conversation(talk: Any) -> None:
        await talk.call(
            "generate", prompt="a fox", loras=[{"name": "ink", "weight": 0.5}], enlarge=2, **wished
        )
        request = (await talk.the_job()).request.model_dump()
        assert {name: request[name] for name in wished} == wished
        assert [lora["name"] for lora in request["loras"]] == ["ink", "auto"]
        assert request["loras"][0]["model_weight"] == 0.5
        assert request["enlarge"] == {"factor": 2.0}

    speak(conversation)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, "auto"),
        ({"auto_loras": False}, "none"),
        ({"loras": [{"name": "ink"}], "auto_loras": False}, ["ink"]),
    ],
)
def test_loras_are_picked_unless_that_is_switched_off(
    speak: Speak, given: dict[str, Any], asked: Any
) -> None:
    async def conversation(talk: Any) -> None:
        await talk.call("generate", prompt="a fox", **given)
        loras = (await talk.the_job()).request.loras
        assert (loras if isinstance(loras, str) else [lora.name for lora in loras]) == asked

    speak(conversation)


def test_an_error_has_its_words_its_fix_and_its_code(speak: Speak, mode: str) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("generate", prompt="a fox", model="nobodys")
        assert answer.failed
        assert answer.code == "model_unknown"
        assert 'No model is called "nobodys"' in answer.text
        assert "What to do: " in answer.text

    speak(conversation, mode=mode)


def test_a_failed_drawing_is_an_error_and_its_status_is_not(speak: Speak, held: Any) -> None:
    async def fail(job: Any) -> None:
        held.fail(job.id, EngineError("out_of_memory", "Memory did not suffice."))

    async def conversation(talk: Any) -> None:
        drawn = await talk.during(fail, "generate", prompt="a fox")
        assert drawn.failed
        assert "Memory did not suffice." in drawn.text
        status = await talk.call("job_status", job_id=drawn.facts["job_id"])
        assert not status.failed
        assert status.facts["state"] == "failed"
        assert status.facts["error"]["code"] == "out_of_memory"

    speak(conversation, service=held)


def test_a_mistake_of_kizys_shows_no_traceback_and_none_of_its_words(
    speak: Speak, service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service.raises["loras"] = ZeroDivisionError("/home/somebody/secret")

    async def conversation(talk: Any) -> None:
        answer = await talk.call("find_loras")
        assert answer.failed
        assert answer.code == "server_mistake"
        assert "ZeroDivisionError" in answer.text
        assert "secret" not in str(answer.result)
        assert "Traceback" not in answer.text

    speak(conversation)
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "prompt"),
        ({"prompt": "   "}, "prompt"),
        ({"prompt": "a fox", "count": 999}, "count"),
        ({"prompt": "a fox", "colour": "red"}, "colour"),
        ({"prompt": "a fox", "loras": [{"weight": 1}]}, "loras.0.name"),
        ({"prompt": "a fox", "size": "huge"}, "huge"),
    ],
)
def test_wrong_arguments_are_named_so_that_the_model_can_correct_them(
    speak: Speak, values: dict[str, Any], words: str
) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("generate", **values)
        assert answer.failed
        assert words in answer.text
        assert talk.service.jobs().jobs == ()

    speak(conversation)


def test_an_unknown_tool_is_refused_with_the_names_of_those_there_are(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        with pytest.raises(MCPError, match="generate"):
            await talk.call("paint", prompt="a fox")

    speak(conversation)


def test_loras_are_found_by_what_they_do(speak: Speak, mode: str) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("find_loras", query="ink drawing")
        assert [lora["name"] for lora in answer.data["loras"]] == ["ink"]
        assert answer.data["loras"][0]["triggers"] == ["ink style"]
        # The same as text, for clients that pass no structured content on.
        assert '"ink"' in answer.text

    speak(conversation, mode=mode)


def test_only_so_many_loras_come_back_and_the_rest_is_counted(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("find_loras", limit=1)
        assert len(answer.data["loras"]) == 1
        assert answer.data["more"] == 1

    speak(conversation)


def test_a_plan_is_explained_and_nothing_is_drawn(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call("explain_plan", prompt="a red fox", size="96x64", seed=3)
        plan = answer.data
        assert (plan["model"], plan["size"], plan["seed"]) == ("starter", "96x64", 3)
        assert plan["reasons"] == [{"choice": "model", "value": "starter", "why": "it is there"}]
        assert talk.service.jobs().jobs == ()

    speak(conversation)


def test_a_job_is_cancelled(speak: Speak, held: Any, mode: str) -> None:
    async def conversation(talk: Any) -> None:
        begun = await talk.call("generate", prompt="a fox", wait=False)
        stopped = await talk.call("cancel_job", job_id=begun.facts["job_id"])
        assert stopped.data["state"] == "cancelled"
        assert (await talk.the_job()).state == "cancelled"

    speak(conversation, mode=mode, service=held)


def test_a_job_that_is_over_stays_as_it_is(speak: Speak) -> None:
    async def conversation(talk: Any) -> None:
        done = await talk.call("generate", prompt="a dog")
        after = await talk.call("cancel_job", job_id=done.facts["job_id"])
        assert not after.failed
        assert after.data["state"] == "succeeded"

    speak(conversation)


@pytest.mark.parametrize("tool", ["job_status", "cancel_job"])
def test_an_unknown_job_is_an_error(speak: Speak, tool: str) -> None:
    async def conversation(talk: Any) -> None:
        answer = await talk.call(tool, job_id="nobodys")
        assert answer.failed
        assert answer.code == "job_unknown"

    speak(conversation)
