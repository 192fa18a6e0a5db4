"""What there is to ask for."""

from __future__ import annotations

import pytest
from kizy.core.errors import KizyError, StorageError
from starlette.testclient import TestClient

from tests.fakes.service import FakeService


def test_models_are_listed_as_openais_clients_and_as_kizys_expect_it(api: TestClient) -> None:
    told = api.get("/v1/models").json()
    assert told["object"] == "list"
    assert [one["id"] for one in told["data"]] == [one["name"] for one in told["models"]]
    assert told["data"][0] | told["models"][0] == told["data"][0]
    assert {"id", "object", "created", "owned_by"} <= set(told["data"][0])


def test_one_model_is_shown_as_openais_clients_ask_for_it(api: TestClient) -> None:
    assert api.get("/v1/models/starter").json()["id"] == "starter"
    answer = api.get("/v1/models/startr")
    assert (answer.status_code, answer.json()["code"]) == (404, "model_unknown")
    assert "starter" in answer.json()["detail"]


def test_loras_are_found_by_words_and_family(api: TestClient) -> None:
    def names(**query: str) -> list[str]:
        return [one["name"] for one in api.get("/v1/loras", params=query).json()["loras"]]

    assert names() == ["ink", "mimi"]
    assert names(query="ink drawing") == ["ink"]
    assert names(family="starter") == ["mimi"]
    assert api.get("/v1/loras?family=nothing").json()["code"] == "family_unknown"


@pytest.mark.parametrize("topic", ["styles", "families", "templates", "servers"])
def test_each_list_has_the_name_of_its_topic(api: TestClient, topic: str) -> None:
    assert list(api.get(f"/v1/{topic}").json()) == [topic]
    assert api.get(f"/v1/{topic}").json()[topic]


@pytest.mark.parametrize("topic", ["models", "loras", "styles", "families", "templates", "servers"])
def test_what_goes_wrong_is_told(api: TestClient, fake: FakeService, topic: str) -> None:
    error: KizyError = StorageError("disk_full", "The disk is full.")
    fake.raises[topic] = error
    assert api.get(f"/v1/{topic}").status_code == 507
