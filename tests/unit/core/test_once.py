from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kizy.core.once import once_property


class Owner:
    """Makes its thing slowly enough for every thread to come before it is there."""

    def __init__(self, threads: int = 1) -> None:
        self.made, self.fails = 0, 0
        self._all_here = threading.Barrier(threads)

    def come(self) -> object:
        self._all_here.wait(20.0)
        return self.thing

    @once_property
    def thing(self) -> object:
        """The thing."""
        if self.fails:
            self.fails -= 1
            raise ValueError("not yet")
        self.made += 1
        threading.Event().wait(0.02)
        return object()


def test_threads_that_come_at_once_get_the_same(threads: int = 8) -> None:
    owner = Owner(threads)
    with ThreadPoolExecutor(threads) as pool:
        found = [one.result() for one in [pool.submit(owner.come) for _ in range(threads)]]
    assert owner.made == 1 and len(set(map(id, found))) == 1


def test_it_is_made_on_first_use_and_can_be_assigned() -> None:
    owner, other = Owner(), Owner()
    assert "thing" not in owner.__dict__
    owner.thing = "mine"
    assert owner.thing == "mine" and owner.made == 0
    assert other.thing is other.thing and other.made == 1
    assert Owner.thing.__doc__ == "The thing."


def test_what_fails_is_tried_again() -> None:
    owner = Owner()
    owner.fails = 1
    with pytest.raises(ValueError, match="not yet"):
        _ = owner.thing
    assert owner.thing is owner.thing and owner.made == 1
