"""Where the person finds what was drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kizy.core.picture_files import read_plan
from kizy.orchestrator.server.mcp.artifact_locations import Addresses, PicturesHere
from kizy.orchestrator.server.mcp.protocol_server import Terms

Speak = Callable[..., None]


def test_a_server_tells_addresses(speak: Speak) -> None:
    terms = Terms(places=Addresses(lambda _scope: "http://there:7433/"))

    async def conversation(talk: Any) -> None:
        answer = await talk.call("generate", prompt="a fox")
        file = answer.facts["files"][0]
        assert file["link"] == f"http://there:7433/v1/artifacts/{file['id']}"
        assert file["link"] in answer.text

    speak(conversation, terms)


def test_pictures_are_saved_once_in_the_persons_folder(speak: Speak, folder: Path) -> None:
    terms = Terms(places=PicturesHere(folder))

    async def conversation(talk: Any) -> None:
        answer = await talk.call("generate", prompt="A red fox!", count=2)
        await talk.call("job_status", job_id=answer.facts["job_id"])
        await talk.call("generate", prompt="A red fox!", count=2)
        saved = sorted(folder.iterdir())
        assert len(saved) == 2
        assert sorted(file["link"] for file in answer.facts["files"]) == list(map(str, saved))
        assert all("a-red-fox" in path.name for path in saved)
        assert read_plan(saved[0]).request_prompt == "A red fox!"

    speak(conversation, terms)


def test_a_job_that_is_not_done_or_no_drawing_saves_nothing(
    speak: Speak, held: Any, folder: Path, picture: Any, as_url: Any
) -> None:
    async def conversation(talk: Any) -> None:
        await talk.call("generate", prompt="a fox", wait=False)
        begun = await talk.call("train", name="mimi", pictures=[as_url(picture())])
        held.finish(begun.data["job_id"])
        await talk.call("job_status", job_id=begun.data["job_id"])
        assert list(folder.iterdir()) == []

    speak(conversation, Terms(places=PicturesHere(folder)), service=held)


def test_a_folder_that_cannot_be_written_to_costs_no_picture(speak: Speak, folder: Path) -> None:
    blocked = folder / "a file"
    blocked.write_text("")

    async def conversation(talk: Any) -> None:
        answer = await talk.call("generate", prompt="a fox")
        assert not answer.failed
        assert len(answer.images) == 1
        assert "Not saved in" in answer.text
        assert answer.facts["files"][0]["link"] is None

    speak(conversation, Terms(places=PicturesHere(blocked)))
