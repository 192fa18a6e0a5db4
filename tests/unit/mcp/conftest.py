"""A fake service behind Kizy's tools, and the SDK's own client before them."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from kizy.core.job import Job
from kizy.orchestrator.server.mcp.protocol_server import Terms, make_server
from mcp import Client, types
from PIL import Image

from tests.fakes.service import FakeService

LIMIT = 10.0
"""Seconds after which a test has failed."""


@dataclass
class Told:
    """What the client heard of a call's progress."""

    steps: list[tuple[float, float | None, str | None]] = field(default_factory=list)

    async def __call__(self, done: float, total: float | None, words: str | None) -> None:
        self.steps.append((done, total, words))

    @property
    def done(self) -> list[float]:
        return [step[0] for step in self.steps]


class Talk:
    """A client's conversation with Kizy's tools."""

    def __init__(self, client: Client, service: FakeService) -> None:
        self.client, self.service = client, service

    async def call(self, tool: str, told: Told | None = None, **values: Any) -> Answer:
        with anyio.fail_after(LIMIT):
            return Answer(await self.client.call_tool(tool, values, progress_callback=told))

    async def during(
        self, happens: Happens, tool: str, told: Told | None = None, **values: Any
    ) -> Answer:
        """Call a tool; while it waits for its job, something happens to that job."""
        answers: list[Answer] = []

        async def ask() -> None:
            answers.append(await self.call(tool, told, **values))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await happens(await self.the_job())
        return answers[0]

    async def the_job(self) -> Job:
        """The latest job, once there is one."""
        with anyio.fail_after(LIMIT):
            while not (jobs := self.service.jobs().jobs):
                await anyio.sleep(0.002)
        return jobs[0]


@dataclass
class Answer:
    """What a tool answered."""

    result: types.CallToolResult

    @property
    def failed(self) -> bool:
        return self.result.is_error

    @property
    def text(self) -> str:
        texts = [one.text for one in self.result.content if isinstance(one, types.TextContent)]
        return "\n".join(texts)

    @property
    def images(self) -> list[types.ImageContent]:
        return [one for one in self.result.content if isinstance(one, types.ImageContent)]

    @property
    def pictures(self) -> list[Image.Image]:
        return [Image.open(io.BytesIO(base64.b64decode(one.data))) for one in self.images]

    @property
    def data(self) -> Any:
        return self.result.structured_content

    @property
    def facts(self) -> dict[str, Any]:
        """A job's facts, for programs."""
        return (self.result.meta or {})["kizy/job"]

    @property
    def code(self) -> str:
        """An error's code, as the model reads it."""
        return self.text.rpartition("Code: ")[2].split("\n")[0]


Happens = Callable[[Job], Awaitable[None]]
Conversation = Callable[[Talk], Awaitable[None]]
Speak = Callable[..., None]


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    """What it accepts is drawn at once."""
    return FakeService(tmp_path / "store")


@pytest.fixture
def held(tmp_path: Path) -> FakeService:
    """What it accepts waits until a test goes on with it."""
    return FakeService(tmp_path / "held", held=True)


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """How the client speaks: as of 2026, or with the handshake of before."""
    return request.param


@pytest.fixture
def speak(service: FakeService) -> Speak:
    """speak(conversation, terms, mode=, service=): has it with a server in this process."""
    usual = service

    def speak(
        conversation: Conversation,
        terms: Terms | None = None,
        *,
        mode: str = "auto",
        service: FakeService = usual,
    ) -> None:
        async def have() -> None:
            async with Client(make_server(service, terms), mode=mode) as client:
                await conversation(Talk(client, service))

        anyio.run(have)

    return speak


@pytest.fixture
def conversed() -> Callable[..., Awaitable[Answer]]:
    """await conversed(client, tool, told, **values): what a tool answers, over any transport."""

    async def conversed(
        client: Client, tool: str, told: Told | None = None, **values: Any
    ) -> Answer:
        return Answer(await client.call_tool(tool, values, progress_callback=told))

    return conversed


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that assistants may read pictures in."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


PictureBytes = Callable[..., bytes]


@pytest.fixture
def picture() -> PictureBytes:
    """picture(kind, size, mode): the bytes of a picture file."""

    def picture(kind: str = "PNG", size: tuple[int, int] = (32, 24), mode: str = "RGB") -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, size).save(buffer, kind)
        return buffer.getvalue()

    return picture


@pytest.fixture
def as_url() -> Callable[[bytes], str]:
    """as_url(data): a data: URL."""
    return lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}"


@contextmanager
def _serving_at(app: Any) -> Iterator[str]:
    import uvicorn

    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 30
        while not server.started and time.monotonic() < until:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def serving_at() -> Callable[[Any], Any]:
    """with serving_at(app) as address: an ASGI app, served by a thread of this process."""
    return _serving_at


@pytest.fixture
def served() -> Iterator[Callable[[Any], str]]:
    """served(app): its address, until the test ends."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(_serving_at(app))
