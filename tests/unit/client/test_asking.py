"""Jobs are accepted, waited for, and their ends become errors."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.core.errors import CancelledError, EngineError, InputError, KizyError
from kizy.core.job import ErrorInfo, Job
from kizy.core.request import GenerationRequest
from kizy.orchestrator.sdk.remote.outcomes import accepted, require_success
from kizy.orchestrator.service import Wish

from tests.fakes.service import FakeService

FOX = GenerationRequest(prompt="a fox")


def job(state: Any, code: str | None = None) -> Job:
    error = ErrorInfo(code=code, message="What.", fix="Do.") if code is not None else None
    return Job(request=FOX, state=state, error=error)


def test_a_job_is_accepted_by_a_key_of_its_own(fake: FakeService) -> None:
    found = accepted(fake, fake.generate, FOX, Wish(raw=True))
    wish = fake.wish_of(found.id)
    assert wish.raw and wish.idempotency_key


def test_a_key_that_is_given_stays(fake: FakeService) -> None:
    found = accepted(fake, fake.generate, FOX, Wish(idempotency_key="mine"))
    assert fake.wish_of(found.id).idempotency_key == "mine"


def test_ctrl_c_on_the_way_cancels_what_may_have_been_accepted(fake: FakeService) -> None:
    calls = []

    def interrupted(request: GenerationRequest, wish: Wish) -> Job:
        found = fake.generate(request, wish)
        calls.append(found.id)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        accepted(fake, interrupted, FOX, Wish())
    assert [one.state for one in fake.jobs().jobs] == ["cancelled"]


def test_ctrl_c_stays_ctrl_c_where_the_server_is_away(fake: FakeService) -> None:
    def away(request: GenerationRequest, wish: Wish) -> Job:
        fake.raises["generate"] = EngineError("server_unreachable", "Away.", fix="Wait.")
        if not calls:
            calls.append(1)
            raise KeyboardInterrupt
        return fake.generate(request, wish)

    calls: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        accepted(fake, away, FOX, Wish())


class TestEnds:
    def test_success_raises_nothing(self) -> None:
        require_success(job("succeeded"))

    @pytest.mark.parametrize(
        ("state", "code", "kind"),
        [
            ("failed", "out_of_memory", EngineError),
            ("failed", "lora_unknown", InputError),
            ("failed", "moon_full", EngineError),
            ("failed", None, EngineError),
            ("cancelled", "cancelled", CancelledError),
            ("cancelled", None, CancelledError),
            ("cancelled", "deadline_passed", EngineError),
        ],
    )
    def test_all_others_raise_what_they_say(self, state: Any, code: Any, kind: type) -> None:
        with pytest.raises(KizyError) as raised:
            require_success(job(state, code))
        assert isinstance(raised.value, kind)
        assert raised.value.message
