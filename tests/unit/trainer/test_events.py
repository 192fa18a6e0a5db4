"""Events in a file: written, followed, and read again after a crash."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from kizy.trainer.events import (
    EndEvent,
    EventReader,
    EventWriter,
    NoticeEvent,
    Smoother,
    StepEvent,
    read_events,
)


def step(number: int, loss: float = 1.0) -> StepEvent:
    return StepEvent(step=number, steps=9, loss=loss, smoothed=loss, lr=1e-3)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = [step(1), NoticeEvent(code="note", text="ä\nb"), EndEvent(state="succeeded")]
    with EventWriter(tmp_path / "events") as writer:
        for event in written:
            writer.write(event)
    assert read_events(tmp_path / "events") == written


def test_a_reader_gives_each_event_once(tmp_path: Path) -> None:
    reader = EventReader(tmp_path / "events")
    assert list(reader.new()) == []
    with EventWriter(tmp_path / "events") as writer:
        writer.write(step(1))
        assert list(reader.new()) == [step(1)]
        writer.write(step(2))
        assert list(reader.new()) == [step(2)]
    assert list(reader.new()) == []


def test_a_line_that_is_not_whole_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "events"
    text = step(1).model_dump_json() + "\n"
    reader = EventReader(path)
    path.write_text(text[:20])
    assert list(reader.new()) == []
    path.write_text(text)
    assert list(reader.new()) == [step(1)]


def test_a_line_that_a_crash_cut_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text('{"kind": "step", "st')
    with EventWriter(path) as writer:
        writer.write(step(2))
    assert read_events(path) == [step(2)]


def test_a_loss_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with EventWriter(tmp_path / "events") as writer, pytest.raises(ValueError, match="JSON"):
        writer.write(step(1, math.nan))


def test_the_smoothed_loss_is_no_lower_at_the_beginning() -> None:
    smoother = Smoother()
    assert [round(smoother.add(2.0), 9) for _ in range(3)] == [2.0, 2.0, 2.0]


def test_a_smoother_goes_on_where_another_was() -> None:
    whole, first = Smoother(), Smoother()
    values = [3.0, 1.0, math.nan, 2.0, 5.0]
    expected = [whole.add(value) for value in values]
    for value in values[:3]:
        first.add(value)
    second = Smoother.of(*first.parts)
    assert [second.add(value) for value in values[3:]] == expected[3:]
