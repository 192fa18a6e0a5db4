"""What Kizy relies on in ComfyUI: how jobs are stopped, and their order."""

from __future__ import annotations

from typing import Any

import requests

from tests.fakes.comfyui_graphs import (
    new_id,
    new_picture_graph,
    new_slow_graph,
)
from tests.fakes.comfyui_raw import WAIT, get, history, ids, post, wait_for


def test_a_running_job_is_interrupted_and_the_next_one_is_not(url: str) -> None:
    graph, mine = new_slow_graph()
    other = new_id()
    post(url, graph, mine)
    post(url, new_picture_graph(), other)
    wait_for(lambda: ids(url)[0] == [mine])
    assert ids(url)[1] == [other]

    def stopped() -> Any:
        # Again and again: trap 11.
        requests.post(f"{url}/interrupt", json={"prompt_id": mine}, timeout=WAIT)
        return get(url, f"/history/{mine}")

    status = wait_for(stopped)[mine]["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    assert status["messages"][-1][0] == "execution_interrupted"
    assert history(url, other)["status"]["status_str"] == "success"


def test_an_interrupt_with_the_id_of_a_job_that_waits_stops_nothing(url: str) -> None:
    graph, mine = new_slow_graph(40)
    other = new_id()
    post(url, graph, mine)
    post(url, new_picture_graph(), other)
    requests.post(f"{url}/interrupt", json={"prompt_id": other}, timeout=WAIT)
    assert history(url, mine)["status"]["status_str"] == "success"
    assert history(url, other)["status"]["status_str"] == "success"


def test_a_job_that_is_deleted_from_the_queue_leaves_no_trace(url: str) -> None:
    graph, first = new_slow_graph(40)
    mine, other = new_id(), new_id()
    for prompt_id, each in (
        (first, graph),
        (mine, new_picture_graph()),
        (other, new_picture_graph()),
    ):
        post(url, each, prompt_id)
    requests.post(f"{url}/queue", json={"delete": [mine]}, timeout=WAIT)
    assert mine not in ids(url)[1]
    assert history(url, other)["status"]["status_str"] == "success"
    assert get(url, f"/history/{mine}") == {}


def test_old_servers_answer_the_new_cancel_route_with_an_error(url: str) -> None:
    answer = requests.post(f"{url}/api/jobs/{new_id()}/cancel", json={}, timeout=WAIT)
    assert answer.status_code in (200, 404, 405)
    if answer.status_code == 200:
        assert answer.json() == {"cancelled": False}


def test_the_order_of_the_queue_is_that_of_its_numbers(url: str) -> None:
    graph, first = new_slow_graph(40)
    post(url, graph, first)
    waiting = [new_id() for _ in range(4)]
    for prompt_id in waiting:
        post(url, new_picture_graph(), prompt_id)
    queue = get(url, "/queue")["queue_pending"]
    assert [item[1] for item in sorted(queue, key=lambda item: item[0])] == waiting
    assert {item[3]["client_id"] for item in queue} == set(waiting)
    history(url, waiting[-1])
