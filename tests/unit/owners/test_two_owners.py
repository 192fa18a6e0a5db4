"""What one owner names, draws and keeps is nothing to another, on every route and every tool."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import pytest
from kizy.catalog.index.models import named_model
from kizy.core.errors import KizyError
from kizy.core.job import JobArtifactEvent, StateEvent
from kizy.core.picture_files import png_bytes
from kizy.core.plan import ModelFile, PlannedLora
from kizy.core.request import GenerationRequest
from kizy.orchestrator.server.mcp.protocol_server import Terms, make_server
from kizy.orchestrator.server.mcp.tools import TOOLS
from mcp import Client, types
from PIL import Image

from tests.unit.owners.conftest import FILE, WORD, House

Answers = list[Any]


def drawn(house: House, **values: Any) -> Any:
    return house.ben.post("/v1/generations", json={"prompt": f"a {WORD}", **values})


def upload(house: House) -> Any:
    return house.ben.post("/v1/uploads", files={"file": ("a.png", png(), "image/png")})


def png() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return buffer.getvalue()


NEAR = FILE[:-1]
"""Nearly the name of Ann's file: a hint that knows it would say it."""


def generations(house: House) -> Answers:
    wishes: list[dict[str, Any]] = [
        {},
        {"loras": "none"},
        {"loras": [{"name": "auto"}]},
        {"loras": [{"name": NEAR}]},
        {"loras": [{"name": FILE[:4].upper()}, {"name": "auto"}]},
        {"prompt": f"a {WORD} <lora:{NEAR}:1>"},
        {"model": NEAR},
    ]
    return [drawn(house, **wish) for wish in wishes]


def plans(house: House) -> Answers:
    asked = [{}, {"loras": [{"name": NEAR}]}, {"style": NEAR}, {"model": NEAR}]
    return [house.ben.post("/v1/plan", json={"prompt": f"a {WORD}", **one}) for one in asked]


def trainings(house: House) -> Answers:
    wanted = {"files": [house.job.artifacts[0].id], "name": WORD, "base": NEAR}
    mine = {**wanted, "files": [upload(house).json()["id"]]}
    return [house.ben.post("/v1/trainings", json=mine)]


def of_ann(method: str, end: str = "", **options: Any) -> Callable[[House], Answers]:
    """Her job, by its id."""

    def ask(house: House) -> Answers:
        answer = house.ben.request(method, f"/v1/jobs/{house.job.id}{end}", **options)
        assert (answer.status_code, answer.json()["code"]) == (404, "job_unknown")
        return [Without(answer, house.job.id)]

    return ask


def artifact(house: House) -> Answers:
    found = []
    for file in house.job.artifacts:
        answer = house.ben.get(f"/v1/artifacts/{file.id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "artifact_unknown")
        found.append(Without(answer, file.id))
    return found


def jobs(house: House) -> Answers:
    asked = [{}, {"owner": "ann"}, {"state": "succeeded"}, {"kind": "generation", "limit": 200}]
    return [house.ben.get("/v1/jobs", params=one) for one in asked]


def loras(house: House) -> Answers:
    asked = [{}, {"query": WORD}, {"query": f"the {WORD} of a museum"}, {"family": "starter"}]
    return [house.ben.get("/v1/loras", params=one) for one in asked]


def openai(house: House) -> Answers:
    asked = [{}, {"model": NEAR}, {"prompt": f"a {WORD} <lora:{NEAR}:1>"}]
    found = [
        house.ben.post("/v1/images/generations", json={"prompt": f"a {WORD}", **one})
        for one in asked
    ]
    return [answer for answer in found if answer.status_code != 200] + [
        [entry["revised_prompt"] for entry in answer.json()["data"]]
        for answer in found
        if answer.status_code == 200
    ]


def openai_edit(house: House) -> Answers:
    files = {"image": ("a.png", png(), "image/png")}
    answer = house.ben.post("/v1/images/edits", data={"prompt": f"a {WORD}"}, files=files)
    return [entry["revised_prompt"] for entry in answer.json()["data"]]


def get(path: str) -> Callable[[House], Answers]:
    return lambda house: [house.ben.get(path)]


class Without:
    """An answer, but for an id that was in the question."""

    def __init__(self, answer: Any, given: str) -> None:
        self.text = answer.text.replace(given, "")


ROUTES: dict[str, Callable[[House], Answers]] = {
    "generate": generations,
    "plan": plans,
    "train": trainings,
    "list_jobs": jobs,
    "show_job": of_ann("GET"),
    "cancel_job": of_ann("DELETE"),
    "change_job": of_ann("PATCH", json={"before": "first"}),
    "follow_job": of_ann("GET", "/events"),
    "retry_job": of_ann("POST", "/retry"),
    "show_queue": get("/v1/queue"),
    "pause_queue": lambda house: [house.ben.patch("/v1/queue", json={"paused": True})],
    "fetch_artifact": artifact,
    "upload": lambda house: [upload(house)],
    "list_models": get("/v1/models"),
    "list_loras": loras,
    "list_styles": get("/v1/styles"),
    "list_families": get("/v1/families"),
    "list_templates": get("/v1/templates"),
    "list_servers": get("/v1/servers"),
    "openai_generate": openai,
    "openai_edit": openai_edit,
    "is_alive": get("/healthz"),
    "is_ready": get("/readyz"),
    "read_metrics": get("/metrics"),
}
"""Each operation of the OpenAPI document -> what Ben asks of it."""


def text_of(answer: Any) -> str:
    return answer.text if hasattr(answer, "text") else json.dumps(answer)


def test_no_route_is_forgotten(house: House) -> None:
    paths = house.ben.get("/openapi.json").json()["paths"]
    known = {one["operationId"] for path in paths.values() for one in path.values()}
    assert known == set(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_tells_another_owner_nothing(house: House, route: str) -> None:
    for answer in ROUTES[route](house):
        assert not house.tells(text_of(answer)), text_of(answer)


def test_whoever_owns_it_sees_it(house: House) -> None:
    shown = house.ann.get(f"/v1/jobs/{house.job.id}")
    assert shown.status_code == 200 and house.tells(shown.text)
    assert str(house.path.parent) not in json.dumps(shown.json()["plan"])


def test_a_lora_that_one_named_by_its_path_is_picked_for_nobody_else(house: House) -> None:
    ben, ann = house.service.seen_by("ben"), house.service.seen_by("ann", files=True)
    for service in (ben, ann, house.service.seen_by(None)):
        plan = service.plan(GenerationRequest(prompt=f"a {WORD}"))
        assert plan.loras == ()
    assert [one.name for one in ben.loras()] == ["Crayon"]


def test_it_serves_the_request_that_names_it_again_and_again(house: House) -> None:
    ann = house.service.seen_by("ann", files=True)
    request = GenerationRequest.model_validate(
        {"prompt": "a fox", "loras": [{"name": str(house.path)}, {"name": "auto"}]}
    )
    for _ in range(2):
        plan = ann.plan(request)
        assert [lora.file.path for lora in plan.loras] == [str(house.path)]


def test_a_key_of_one_owner_is_no_key_of_another(house: House) -> None:
    headers = {"Idempotency-Key": "the same"}
    asked = [
        client.post("/v1/generations", json={"prompt": "a cat"}, headers=headers)
        for client in (house.ann, house.ben, house.ben)
    ]
    first, second, again = (answer.json()["id"] for answer in asked)
    assert first != second == again


def test_where_a_lora_of_the_library_should_lie_is_told_to_nobody(
    house: House, kizy_home: Path
) -> None:
    crayon = kizy_home / "loras" / "crayon.safetensors"
    wish = {"prompt": "a fox", "loras": [{"name": "crayon"}]}
    assert house.ben.post("/v1/plan", json=wish).status_code == 200
    crayon.unlink()
    answer = house.ben.post("/v1/plan", json=wish)
    assert answer.status_code in (404, 422)
    assert str(kizy_home) not in answer.text


def test_events_of_another_owner_are_not_heard(house: House) -> None:
    ben = house.service.seen_by("ben")
    with pytest.raises(KizyError) as caught:
        list(ben.follow(house.job.id))
    assert caught.value.code == "job_unknown"
    job = ben.generate(GenerationRequest(prompt=f"a {WORD}"))
    for numbered in ben.follow(job.id):
        event = numbered.event
        if isinstance(event, StateEvent | JobArtifactEvent):
            assert not house.tells(event.model_dump_json())


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("route", ["/v1/plan", "/v1/generations", "/v1/images/generations"])
def test_no_file_is_opened_for_an_ordinary_key(
    house: House, monkeypatch: pytest.MonkeyPatch, route: str, *, there: bool
) -> None:
    monkeypatch.chdir(house.path.parent.parent)
    if not there:
        house.path.unlink()
    names = [f"private/{FILE}.safetensors", f"private\\{FILE}", str(house.path), "./private"]
    said = []
    for name in names:
        asked: list[dict[str, Any]] = [{"model": name}, {"prompt": f"a fox <lora:{name}:1>"}]
        if not route.startswith("/v1/images"):
            asked.append({"loras": [{"name": name}]})
        for one in asked:
            answer = house.ben.post(route, json={"prompt": "a fox", **one})
            assert answer.status_code in (400, 422), answer.text
            said.append(answer.json())
    told = json.dumps(said)
    assert "private" not in told.replace(json.dumps(names[0])[1:-1], "").replace(
        json.dumps(names[1])[1:-1], ""
    )
    codes = {one.get("code") or one["error"]["code"] for one in said}
    assert codes == {"path_refused", "lora_unknown", "model_unknown"}


@pytest.mark.parametrize(
    "base", ["private", "private/x", "./private", "/private", "C:\\private", "~/private"]
)
def test_no_base_of_a_training_is_looked_for_on_the_disk(
    house: House, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.chdir(house.path.parent.parent)
    files = [upload(house).json()["id"]]
    asked = {"files": files, "name": "Mimi", "base": base}
    answer = house.ben.post("/v1/trainings", json=asked)
    if base.startswith("private"):
        # A name: the trainer looks it up in the list of models, and finds none.
        with pytest.raises(KizyError) as caught:
            named_model(base)
        assert caught.value.code == "model_unknown"
    else:
        assert answer.json()["code"] == "path_refused"


# MCP


def _talk(house: House, owner: str, ask: Callable[[Client], Any]) -> Any:
    service = house.service.seen_by(owner)
    terms = Terms()

    async def run() -> Any:
        async with Client(make_server(service, terms)) as client:
            return await ask(client)

    return anyio.run(run)


TOOL_ARGUMENTS: dict[str, Callable[[House], list[dict[str, Any]]]] = {
    "generate": lambda house: [
        {"prompt": f"a {WORD}"},
        {"prompt": f"a {WORD}", "loras": [{"name": NEAR}]},
        {"prompt": f"a {WORD}", "loras": [{"name": f"private/{FILE[:-1]}"}]},
        {"prompt": f"a {WORD} <lora:{NEAR}:1>"},
    ],
    "edit": lambda house: [
        {"picture": house.job.artifacts[0].id, "prompt": f"a {WORD}"},
    ],
    "improve": lambda house: [{"picture": house.job.artifacts[0].id}],
    "train": lambda house: [{"name": WORD, "pictures": [house.job.artifacts[0].id]}],
    "find_loras": lambda house: [{}, {"query": WORD}],
    "explain_plan": lambda house: [{"prompt": f"a {WORD}"}, {"prompt": WORD, "model": NEAR}],
    "job_status": lambda house: [{"job_id": house.job.id}],
    "cancel_job": lambda house: [{"job_id": house.job.id}],
}


def test_no_tool_is_forgotten() -> None:
    assert {tool.name for tool in TOOLS} == set(TOOL_ARGUMENTS)


@pytest.mark.parametrize("tool", TOOL_ARGUMENTS)
def test_a_tool_tells_another_owner_nothing(house: House, tool: str) -> None:
    for values in TOOL_ARGUMENTS[tool](house):

        async def ask(client: Client, values: dict[str, Any] = values) -> str:
            result = await client.call_tool(tool, values)
            texts = [one.text for one in result.content if isinstance(one, types.TextContent)]
            return json.dumps([texts, result.structured_content])

        told = _talk(house, "ben", ask)
        for given in (house.job.id, *(file.id for file in house.job.artifacts)):
            told = told.replace(given, "")
        assert not house.tells(told), told


def test_a_plan_inside_a_picture_that_is_handed_over_opens_no_file(
    house: House, tmp_path: Path
) -> None:
    assert house.job.plan is not None
    lora = PlannedLora(
        file=ModelFile(name=str(house.path), path=str(house.path)), model_weight=1, clip_weight=1
    )
    relative = PlannedLora(
        file=ModelFile(name=f"private/{FILE}.safetensors", path=str(house.path)),
        model_weight=1,
        clip_weight=1,
    )
    for planned in (lora, relative):
        plan = house.job.plan.model_copy(
            update={"loras": (planned,), "request_prompt": "a fox", "prompt": "a fox"}
        )
        data = png_bytes(Image.new("RGB", (64, 64), "red"), plan, "1")
        url = "data:image/png;base64," + base64.b64encode(data).decode()

        async def ask(client: Client, url: str = url) -> str:
            result = await client.call_tool("improve", {"picture": url, "wait": False})
            texts = [one.text for one in result.content if isinstance(one, types.TextContent)]
            return json.dumps([texts, result.structured_content])

        told = _talk(house, "ben", ask)
        assert "marmalade" not in told.casefold() and "rijksmuseum" not in told.casefold()
    assert all(
        job.plan is None or job.plan.loras == () for job in house.service.seen_by("ben").jobs().jobs
    )
