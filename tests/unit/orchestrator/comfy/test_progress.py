"""The share of a job that is done never gets smaller, and is worth what it cost the last time."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from kizy.orchestrator.backends.comfyui.protocol import messages as m
from kizy.orchestrator.backends.comfyui.protocol.client_events import Progress
from kizy.orchestrator.backends.comfyui.protocol.node_costs import CostBook, cost_key, picture_size
from kizy.orchestrator.backends.comfyui.protocol.node_progress import Tracker

from tests.fakes.comfyui_graphs import Compiled, drawing, drawing_graph, node

P = "p"


@pytest.fixture
def book(tmp_path: Path) -> CostBook:
    return CostBook(tmp_path / "costs.json")


def state(**nodes: tuple[str, float, float]) -> m.States:
    return m.States(P, {name.strip("n"): m.NodeState(*value) for name, value in nodes.items()})


def run_drawing(tracker: Tracker, *, steps: int, begin: float = 0.0) -> list[Progress]:
    """A whole drawing: loading takes 8 s, a step 1 s, everything else half a second."""
    now, events = begin, []

    def hear(message: m.Message) -> None:
        progress = tracker.hear(message, now)
        assert progress is not None
        events.append(progress)

    hear(m.Cached(P, ()))
    for name in ("1", "2", "3", "4"):
        hear(m.Executing(P, name))
        now += 8.0 if name == "1" else 0.5
    hear(m.Executing(P, "5"))
    for step in range(1, steps + 1):
        now += 1.0
        hear(m.Step(P, "5", step, steps))
    for name in ("6", "7"):
        hear(m.Executing(P, name))
        now += 0.5
    events.append(tracker.finish(now))
    return events


def test_the_share_grows_to_one(book: CostBook) -> None:
    events = run_drawing(Tracker(drawing(steps=4), book), steps=4)
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-2] < fractions[-1] == 1.0


def test_it_says_what_is_done_in_plain_words(book: CostBook) -> None:
    events = run_drawing(Tracker(drawing(steps=2), book), steps=2)
    assert [event.doing for event in events][1:] == [
        "loading the model",
        "reading the prompt",
        "reading the prompt",
        "EmptyLatentImage",
        "drawing",
        "drawing, step 1 of 2",
        "drawing, step 2 of 2",
        "decoding the picture",
        "saving",
        "done",
    ]


def test_nodes_weigh_what_they_cost_the_last_time(book: CostBook) -> None:
    run_drawing(Tracker(drawing(steps=10), book), steps=10)
    again = Tracker(drawing(steps=10), book)
    again.hear(m.Executing(P, "1"), 0)
    loaded = again.hear(m.Executing(P, "2"), 8)
    assert loaded is not None
    # 8 seconds of 8 + 3 * 0.5 + 10 + 2 * 0.5
    assert loaded.fraction == pytest.approx(8 / 20.5, abs=0.01)
    assert loaded.left == pytest.approx(12.5, abs=0.1)


def test_a_step_costs_the_same_whatever_their_number(book: CostBook) -> None:
    run_drawing(Tracker(drawing(steps=10), book), steps=10)
    assert book.expect(drawing_graph(steps=40), "5", 40).seconds == pytest.approx(40)


def test_a_step_of_another_size_is_not_known(book: CostBook) -> None:
    run_drawing(Tracker(drawing(steps=10), book), steps=10)
    assert book.expect(drawing_graph(steps=10), "5", 10).known
    assert not book.expect(drawing_graph(steps=10, width=1024), "5", 10).known
    assert not book.expect(drawing_graph(checkpoint="other.safetensors"), "5", 10).known


def test_cached_nodes_count_as_done(book: CostBook) -> None:
    run_drawing(Tracker(drawing(steps=10), book), steps=10)
    tracker = Tracker(drawing(steps=10), book)
    tracker.hear(m.Cached(P, ("1", "2", "3", "4")), 0)
    tracker.hear(m.Executing(P, "5"), 0)
    half = tracker.hear(m.Step(P, "5", 5, 10), 5)
    assert half is not None
    assert half.fraction == pytest.approx(5 / 11, abs=0.01)
    assert half.left == pytest.approx(6, abs=0.1)


def test_a_first_drawing_learns_its_time_left_from_its_steps(book: CostBook) -> None:
    tracker = Tracker(drawing(steps=100), book)
    first = tracker.hear(m.Executing(P, "1"), 0)
    assert first is not None
    assert first.left is None
    tracker.hear(m.Executing(P, "5"), 5)
    tenth = tracker.hear(m.Step(P, "5", 10, 100), 15)
    assert tenth is not None
    assert tenth.left is not None
    assert 85 < tenth.left < 110


def test_states_that_hold_begun_nodes_alone_do_not_turn_it_back(book: CostBook) -> None:
    tracker = Tracker(drawing(steps=4), book)
    tracker.hear(state(n1=("running", 0, 1)), 0)
    one = tracker.hear(state(n1=("finished", 1, 1)), 1)
    two = tracker.hear(state(n1=("finished", 1, 1), n2=("running", 0, 1)), 1)
    assert one is not None
    assert two is not None
    assert two.fraction >= one.fraction > 0
    assert tracker.executing == "2"


def test_a_sampler_that_begins_anew_does_not_turn_it_back(book: CostBook) -> None:
    tracker = Tracker(drawing(steps=4), book)
    full = tracker.hear(m.Step(P, "5", 4, 4), 1)
    again = tracker.hear(m.Step(P, "5", 1, 4), 2)
    assert full is not None
    assert again is not None
    assert again.fraction == full.fraction


def test_it_never_goes_backwards_whatever_comes(book: CostBook) -> None:
    dice = random.Random(7)
    tracker, last = Tracker(drawing(steps=4), book), 0.0
    names = [*map(str, range(1, 8)), "9.0.1", "x"]
    left = float("inf")
    for moment in range(3000):
        name = dice.choice(names)
        message = dice.choice(
            [
                m.Cached(P, (name,)) if dice.random() < 0.02 else m.Started(P),
                m.Executing(P, name),
                m.Step(P, name, dice.randrange(9), 8),
                m.States(P, {name: m.NodeState(dice.choice(["running", "finished"]), 1, 3)}),
                m.Executed(P, name),
            ]
        )
        progress = tracker.hear(message, float(moment))
        if progress is not None:
            assert last <= progress.fraction < 1.0
            last = progress.fraction
            if progress.left is not None:
                assert 0 <= progress.left <= left
                left = progress.left


def test_waiting_tells_the_place(book: CostBook) -> None:
    tracker = Tracker(drawing(), book)
    assert tracker.waiting(0).doing == "waiting for the server"
    assert tracker.waiting(1).doing == "waiting in the server's queue behind 1 job"
    assert tracker.waiting(3).doing == "waiting in the server's queue behind 3 jobs"


def test_only_what_the_outputs_need_counts(book: CostBook) -> None:
    graph = {**drawing_graph(), "20": node("UNETLoader"), "21": node("KSampler", x=["20", 0])}
    tracker = Tracker(Compiled(graph, ("7",), {"5": 4}), book)
    whole = [tracker.hear(m.Executed(P, name), 0) for name in map(str, range(1, 8))][-1]
    assert whole is not None
    assert whole.fraction == 0.99


def test_the_book_is_kept_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "a" / "costs.json"
    CostBook(file).learn(drawing_graph(), {"1": (8.0, None)})
    assert CostBook(file).expect(drawing_graph(), "1", None).seconds == 8.0


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"KSampler": "x", "VAEDecode": NaN}', '{"VAEDecode": -4}', "[" * 99999],
)
def test_a_damaged_book_counts_as_empty(tmp_path: Path, content: str) -> None:
    file = tmp_path / "costs.json"
    file.write_text(content)
    assert not CostBook(file).expect(drawing_graph(), "6", None).known


def test_a_book_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    book = CostBook(tmp_path / "file" / "costs.json")
    book.learn(drawing_graph(), {"6": (2.0, None)})
    assert book.expect(drawing_graph(), "6", None).seconds == 2.0


def test_the_book_does_not_grow_for_ever(tmp_path: Path) -> None:
    book = CostBook(tmp_path / "costs.json")
    for start in range(0, 3000, 500):
        graph = {str(n): node(f"Class{n}") for n in range(start, start + 500)}
        book.learn(graph, dict.fromkeys(graph, (1.0, None)))
    book.save()
    assert len(json.loads((tmp_path / "costs.json").read_text())) == 2000


def test_a_sampler_is_known_by_model_and_size() -> None:
    key = cost_key(drawing_graph(width=96), "5", sampler=True)
    assert key == "KSampler sd_xl_base_1.0.safetensors 96x128"
    assert cost_key(drawing_graph(), "6", sampler=False) == "VAEDecode"


def test_a_graph_that_goes_in_circles_does_no_harm() -> None:
    graph = {"1": node("A", x=["2", 0]), "2": node("B", x=["1", 0], y=["none", 0])}
    assert picture_size(graph, "1") is None
