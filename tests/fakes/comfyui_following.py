"""Jobs that a test sends and follows, in this thread or in another one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kizy.core.errors import EngineError, KizyError
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.client_events import Done, Notice, Preview

from .comfyui import FakeComfyUI
from .comfyui_graphs import Compiled, new_id


class Following:
    """A job that is followed in a thread, so that the test can do something meanwhile."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events: list[Any] = []
        self.error: BaseException | None = None
        self._iterator = events
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self._iterator:
                self.events.append(event)
        except BaseException as error:
            self.error = error

    def end(self) -> list[Any]:
        """All events; raises what following raised."""
        self._thread.join(20)
        assert not self._thread.is_alive(), self.events[-5:]
        if self.error is not None:
            raise self.error
        return self.events

    def failure(self) -> BaseException:
        """What following raised."""
        self._thread.join(20)
        assert not self._thread.is_alive(), self.events[-5:]
        assert self.error is not None, self.events[-5:]
        return self.error

    def of(self, kind: type) -> list[Any]:
        """The events of a class so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def wait_for(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, self.events[-5:]
            assert self.error is None, self.error
            time.sleep(0.002)


def begin(client: ComfyClient, compiled: Compiled) -> str:
    prompt_id = new_id()
    client.submit(compiled.graph, prompt_id)
    return prompt_id


def draw(client: ComfyClient, compiled: Compiled) -> list[Any]:
    return list(client.follow(begin(client, compiled), compiled))


def failure_of(client: ComfyClient, compiled: Compiled) -> KizyError:
    with pytest.raises(KizyError) as caught:
        draw(client, compiled)
    return caught.value


def of(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def codes(events: list[Any]) -> list[str]:
    return [notice.code for notice in of(events, Notice)]


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def step_until_a_preview(fake: FakeComfyUI, job: Any) -> None:
    """Let the sampler go on, step by step, until the follower sees a preview."""
    seen = len(job.of(Preview))
    for _ in range(100):
        fake.pace.wait()
        fake.pace.go()
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            if len(job.of(Preview)) > seen:
                return
            time.sleep(0.002)
    raise AssertionError("no preview came")


def done_of(client: ComfyClient, prompt_id: str, compiled: Compiled) -> Done:
    """Follow a job to its good end."""
    *_, done = client.follow(prompt_id, compiled)
    assert isinstance(done, Done)
    return done


def draw_outputs(client: ComfyClient, compiled: Compiled) -> Done:
    """Send a job and follow it to its good end."""
    return done_of(client, begin(client, compiled), compiled)


def refusal_of(action: Callable[[], Any]) -> EngineError:
    """The EngineError that an action raises."""
    with pytest.raises(EngineError) as caught:
        action()
    return caught.value
