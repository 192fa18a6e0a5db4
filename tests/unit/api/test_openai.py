"""OpenAI's routes for pictures, called by OpenAI's own client."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import requests
from kizy.core.errors import EngineError, UnknownNameError
from kizy.core.request import GenerationRequest
from kizy.orchestrator.server.rest.asgi import make_api
from kizy.orchestrator.server.rest.openai_routes import convert_mask
from PIL import Image
from starlette.testclient import TestClient

from tests.fakes.service import FakeService
from tests.fakes.serving import serving, serving_app

WAIT = 20.0


@pytest.fixture
def address(fake: FakeService) -> Iterator[str]:
    with serving(fake) as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    """OpenAI's client, as on this machine: without a key of its own."""
    with client_of(address) as made:
        yield made


def client_of(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=WAIT)


def picture(data: str | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(base64.b64decode(data)))


def asked(fake: FakeService) -> GenerationRequest:
    """The newest request."""
    request = fake.jobs().jobs[0].request
    assert isinstance(request, GenerationRequest)
    return request


def test_pictures_come_back_as_base64(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a red fox", n=2, response_format="b64_json")
    assert answer.data is not None
    assert [picture(one.b64_json).format for one in answer.data] == ["PNG", "PNG"]
    assert answer.data[0].revised_prompt == "a red fox"
    assert answer.created > 1_700_000_000


def test_pictures_come_back_as_addresses(client: openai.OpenAI, address: str) -> None:
    answer = client.images.generate(prompt="a red fox", response_format="url")
    assert answer.data is not None
    url = answer.data[0].url
    assert url is not None
    assert url.startswith(f"{address}/v1/artifacts/")
    assert requests.get(url, timeout=WAIT).headers["content-type"] == "image/png"


@pytest.mark.parametrize("model", ["dall-e-3", "gpt-image-1", "chatgpt-image-latest"])
def test_openais_models_leave_the_choice_to_kizy(
    client: openai.OpenAI, fake: FakeService, model: str
) -> None:
    answer = client.images.generate(prompt="a fox", model=model, size="auto", quality="auto")
    assert answer.data
    assert (asked(fake).model, asked(fake).size, asked(fake).quality) == ("auto",) * 2 + (
        "balanced",
    )


def test_kizys_own_words_pass(client: openai.OpenAI, fake: FakeService) -> None:
    client.images.generate(
        prompt="a fox",
        model="painter-xl",
        size="256x256",
        quality="hd",
        style="vivid",
        user="somebody",
        moderation="low",
        background="opaque",
        extra_body={"seed": 7},
    )
    request = asked(fake)
    assert (request.model, request.size, request.quality) == ("painter-xl", "256x256", "best")
    assert (request.seed, request.style, request.owner) == (7, "auto", "local")


def test_one_of_kizys_styles_passes(client: openai.OpenAI, fake: FakeService) -> None:
    client.images.generate(prompt="a fox", extra_body={"style": "cartoon"})
    assert asked(fake).style == "cartoon"


@pytest.mark.parametrize(("kind", "form"), [("jpeg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_the_format_is_as_asked(client: openai.OpenAI, kind: Any, form: str) -> None:
    answer = client.images.generate(
        prompt="a fox", model="gpt-image-1", output_format=kind, output_compression=50
    )
    assert answer.data is not None
    assert (picture(answer.data[0].b64_json).format, answer.output_format) == (form, kind)


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"starter", "painter-xl"}
    assert client.models.retrieve("starter").id == "starter"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_a_picture_is_edited_where_the_mask_is_transparent(
    client: openai.OpenAI, fake: FakeService, png: Any
) -> None:
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    answer = client.images.edit(
        image=("card.png", png("white")), mask=("mask.png", buffer.getvalue()), prompt="a heart"
    )
    assert answer.data
    request = asked(fake)
    assert request.start is not None
    assert request.mask is not None
    with Image.open(fake._find_file(request.mask.picture)) as kept:
        grey = kept.convert("L")
    assert (grey.getpixel((10, 10)), grey.getpixel((50, 10))) == (255, 0)


def test_a_picture_is_edited_as_a_whole_and_from_a_list(
    client: openai.OpenAI, fake: FakeService, png: Any
) -> None:
    client.images.edit(
        image=[("card.jpg", png("white", kind="JPEG"))], prompt="a heart", n=2, size="256x256"
    )
    request = asked(fake)
    assert (request.mask, request.count, request.size) == (None, 2, "256x256")


def test_a_mask_without_transparency_marks_in_white(tmp_path: Any, png: Any) -> None:
    given, to = tmp_path / "mask.png", tmp_path / "to"
    given.write_bytes(png("white"))
    convert_mask(given, to)
    with Image.open(to) as mask:
        assert mask.convert("L").getpixel((1, 1)) == 255


def test_several_pictures_are_refused(client: openai.OpenAI, png: Any) -> None:
    pictures = [("a.png", png("white")), ("b.png", png("black"))]
    with pytest.raises(openai.BadRequestError, match="One picture"):
        client.images.edit(image=pictures, prompt="a heart")


@pytest.mark.parametrize(
    ("values", "param", "code"),
    [
        ({"n": 11}, "n", "request_invalid"),
        ({"size": "huge"}, None, "size_invalid"),
        ({"model": "nothing-like-it"}, None, "model_unknown"),
        ({"background": "transparent"}, None, "feature_unavailable"),
        ({"prompt": ""}, "prompt", "prompt_empty"),
        ({"response_format": "gif"}, "response_format", "request_invalid"),
        ({"response_format": "url", "output_format": "jpeg"}, None, "feature_unavailable"),
    ],
)
def test_refusals_are_errors_of_openais_client(
    client: openai.OpenAI, values: Any, param: str | None, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(**{"prompt": "a fox", **values})
    assert (refused.value.code, refused.value.param) == (code, param)
    assert refused.value.type == "invalid_request_error"


def test_streams_of_pictures_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not streamed"):
        client.images.generate(prompt="a fox", stream=True)


def test_wrong_keys_full_queues_and_failures_have_their_kinds(
    address: str, fake: FakeService
) -> None:
    wrong = openai.OpenAI(base_url=f"{address}/v1", api_key="kizy_wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        wrong.images.generate(prompt="a fox")
    with client_of(address) as client:
        fake.raises["generate"] = EngineError("queue_full", "Many jobs wait.")
        with pytest.raises(openai.RateLimitError):
            client.images.generate(prompt="a fox")
        fake.raises["generate"] = EngineError("drawing_failed", "It failed.")
        with pytest.raises(openai.InternalServerError):
            client.images.generate(prompt="a fox")
    wrong.close()


def test_a_job_that_fails_later_is_an_error_as_well(held: FakeService) -> None:
    with serving(held) as url, client_of(url) as client:
        failing = threading.Thread(
            target=lambda: held.fail(_the_job(held), UnknownNameError("lora_unknown", "No LoRA."))
        )
        failing.start()
        with pytest.raises(openai.BadRequestError, match="No LoRA"):
            client.images.generate(prompt="a fox")
        failing.join()


def test_whoever_goes_away_cancels_the_drawing(held: FakeService) -> None:
    with serving(held) as url:
        parts = urlsplit(url)
        body = b'{"prompt": "a fox"}'
        head = (
            f"POST /v1/images/generations HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((str(parts.hostname), parts.port or 0)) as connection:
            connection.sendall(head.encode() + body)
            job = _the_job(held)
        _until(lambda: held.job(job).state == "cancelled")
        assert held.followers == 0


def test_when_the_server_stops_whoever_waits_hears_it(held: FakeService) -> None:
    app = make_api(held)
    with serving_app(app) as url:
        closing = threading.Thread(target=lambda: (_the_job(held), app.state.closing.begin()))
        closing.start()
        answer = requests.post(f"{url}/v1/images/generations", json={"prompt": "x"}, timeout=WAIT)
        closing.join()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_stopping")
    assert held.jobs().jobs[0].state == "queued"


def test_another_body_than_a_form_is_refused(api: TestClient) -> None:
    answer = api.post("/v1/images/edits", json={"prompt": "a fox"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_invalid")


def _the_job(service: FakeService) -> str:
    """The one job, once it waits and somebody listens."""
    _until(lambda: service.followers > 0)
    return service.jobs().jobs[0].id


def _until(true: Any) -> None:
    for _ in range(int(WAIT / 0.002)):
        if true():
            return
        time.sleep(0.002)
    raise AssertionError("it did not come to that")


def test_an_opaque_mask_with_an_alpha_channel_marks_in_white(tmp_path: Any) -> None:
    given, to = tmp_path / "mask.png", tmp_path / "to"
    mask = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    mask.paste((255, 255, 255, 255), (0, 0, 4, 8))
    mask.save(given)
    convert_mask(given, to)
    with Image.open(to) as kept:
        assert [kept.convert("L").getpixel((x, 1)) for x in (1, 6)] == [255, 0]


def test_a_mask_that_is_transparent_all_over_marks_all(tmp_path: Any) -> None:
    given, to = tmp_path / "mask.png", tmp_path / "to"
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(given)
    convert_mask(given, to)
    with Image.open(to) as kept:
        assert kept.convert("L").getextrema() == (255, 255)
