"""What hangs on what, counted."""

from __future__ import annotations

from kizy.tools.house import RoomTrace, arrows_of, circles_of, climbs_of, floors, look, room_of


def test_a_room_is_what_lies_directly_below_the_orchestrator() -> None:
    assert room_of("kizy.orchestrator.planning.sizes") == "planning"
    assert room_of("kizy.orchestrator.app") == "app"
    assert room_of("kizy.orchestrator") is None
    assert room_of("kizy.core.plan") is None


def test_imports_within_a_room_and_of_other_rooms_of_the_house_are_no_arrows() -> None:
    imports = [
        ("kizy.orchestrator.cli.main", "kizy.orchestrator.cli.draw"),
        ("kizy.orchestrator.cli.main", "kizy.core.plan"),
        ("kizy.orchestrator.cli.main", "kizy.orchestrator.app"),
        ("kizy.orchestrator.cli.draw", "kizy.orchestrator.app"),
    ]
    assert arrows_of(imports) == {("cli", "app")}


def test_rooms_that_reach_each_other_are_a_circle_also_by_way_of_others() -> None:
    arrows = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("e", "a")]
    assert circles_of(arrows) == (("a", "b", "c"),)
    assert circles_of([("a", "b"), ("b", "c")]) == ()


def test_an_arrow_to_a_higher_floor_is_a_climb() -> None:
    floor = {"cli": 0, "jobs": 1, "settings": 2}
    arrows = [("cli", "settings"), ("settings", "jobs"), ("jobs", "settings")]
    assert climbs_of(arrows, floor) == {("settings", "jobs")}


def test_every_room_has_a_floor_nothing_climbs_and_there_is_no_circle() -> None:
    house = look()
    assert set(house.rooms) == set(floors())
    assert house.climbs == ()
    assert house.circles == ()
    assert house.arrows


def test_a_trace_counts_rooms_that_are_entered_again() -> None:
    def in_room(name: str) -> dict[str, object]:
        scope: dict[str, object] = {"__name__": f"kizy.orchestrator.{name}"}
        exec("def go(inner=lambda: None):\n    inner()\n    inner()\n", scope)
        return scope

    outer, inner = in_room("app")["go"], in_room("planning.sizes")["go"]
    trace = RoomTrace()
    trace.run(lambda: outer(inner))  # type: ignore[operator]
    assert trace.visits[:4] == ["app", "planning", "app", "planning"]
    assert trace.returns >= 2
