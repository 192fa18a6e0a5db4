"""Civitai's API, asked at a fake that answers in its shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kizy.catalog.downloads.civitai import (
    Civitai,
    Reference,
    civitai_hub,
    civitai_key,
    parse_reference,
)
from kizy.catalog.downloads.hub import Caller, Hub
from kizy.core.errors import CancelledError, HubError, InputError, KizyError, UnknownNameError

from tests.fakes.model_hub import FakeModelHub
from tests.fakes.model_hub_answers import civitai_file, digest

KEY = "a-key-that-nobody-may-see"


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def caller(self, cancelled: Callable[[], bool] = lambda: False) -> Caller:
        return Caller(
            say=self.said.append, cancelled=cancelled, sleep=self.sleep, clock=lambda: self.now
        )


@pytest.fixture
def fake() -> Iterator[FakeModelHub]:
    with FakeModelHub() as fake:
        yield fake


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def civitai(fake: FakeModelHub, clock: Clock) -> Civitai:
    return Civitai(Hub("Civitai", fake.url, KEY, "Set the key."), caller=clock.caller())


def refusal(act: Callable[[], Any]) -> KizyError:
    with pytest.raises(KizyError) as caught:
        act()
    assert KEY not in f"{caught.value} {caught.value.fix} {caught.value.raw}"
    return caught.value


def test_facts_of_many_files_come_in_batches_of_a_hundred(
    fake: FakeModelHub, civitai: Civitai
) -> None:
    contents = [f"file {number}".encode() for number in range(230)]
    for number, data in enumerate(contents, start=1):
        fake.add_civitai(data, id=1000 + number, modelId=number)
    unknown = digest(b"nobody knows this one")
    found = civitai.by_hashes([*map(digest, contents), unknown, "no hash", unknown])
    assert set(found) == set(map(digest, contents))
    assert found[digest(contents[7])].version_id == 1008
    assert found[digest(contents[7])].tags == ("style", "lantern", "light")
    sizes = [len(one.body) for one in fake.seen("hub", "by-hash")]
    assert sizes == [100, 100, 31]
    assert len(fake.seen("hub", "/api/v1/models")) == 3


def test_facts_come_without_tags_if_the_models_cannot_be_listed(
    fake: FakeModelHub, civitai: Civitai
) -> None:
    fake.add_civitai(b"data")
    del fake.models[123]
    facts = civitai.by_hashes([digest(b"data").upper()])[digest(b"data")]
    assert facts.title == "Paper Lanterns"
    assert facts.tags == ()


def test_no_hashes_ask_nothing(fake: FakeModelHub, civitai: Civitai) -> None:
    assert civitai.by_hashes([]) == {}
    assert fake.requests == []


def test_a_version_is_found_by_any_hash_of_its_file(fake: FakeModelHub, civitai: Civitai) -> None:
    fake.add_civitai(b"data")
    facts = civitai.by_hash(digest(b"data")[:10])
    assert facts is not None
    assert facts.licence is not None
    assert civitai.by_hash("f" * 64) is None
    assert civitai.by_hash("../../models") is None


@pytest.mark.parametrize(
    "text",
    [
        "456",
        "https://civitai.com/models/123/paper-lanterns?modelVersionId=456",
        "civitai.com/models/123?modelVersionId=456",
        "https://civitai.red/models/123/paper-lanterns?modelVersionId=456#comments",
        "https://www.civitai.green/models/123?modelVersionId=456",
        "https://civitai.com/api/download/models/456?type=Model&token=secret",
        "https://civitai.com/api/v1/model-versions/456",
        "https://civitai.com/models/123",
        "urn:air:sdxl:lora:civitai:123@456",
        "air:sdxl:lora:civitai:123@456",
        "urn:air:sdxl:lora:civitai:123",
        "civitai:123@456",
    ],
)
def test_a_version_is_found_by_whatever_names_it(
    fake: FakeModelHub, civitai: Civitai, text: str
) -> None:
    fake.add_civitai(b"data")
    facts = civitai.resolve(text)
    assert (facts.model_id, facts.version_id) == (123, 456)
    assert facts.title == "Paper Lanterns"
    assert facts.files[0].url.startswith(f"{fake.url}/api/download/models/456")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "paper lanterns",
        "https://example.org/models/123",
        "https://civitai.com.evil.example/models/123",
        "https://civitai.com@evil.example/models/123",
        "https://evil.example/civitai.com/models/123",
        "https://civitai.com/images/123",
        "https://civitai.com/models/123456789012345",
        "ftp://civitai.com/models/1",
        "https://[civitai.com/models/1",
        "urn:air:sdxl:lora:huggingface:owner/repo@main",
    ],
)
def test_other_texts_name_nothing(civitai: Civitai, text: str) -> None:
    assert parse_reference(text) is None
    assert refusal(lambda: civitai.resolve(text)).code == "request_invalid"


def test_a_key_in_an_address_is_not_kept() -> None:
    reference = parse_reference("https://civitai.com/api/download/models/4?format=GGUF&token=abc")
    assert reference == Reference(None, 4, "https://civitai.com", (("format", "GGUF"),))


def test_the_file_that_was_asked_for_is_the_primary_one(
    fake: FakeModelHub, civitai: Civitai
) -> None:
    version = fake.add_civitai(b"data")
    pruned = {"format": "SafeTensor", "size": "pruned", "fp": "fp16"}
    version["files"] += [
        civitai_file(b"old", id=7002, name="a.ckpt", primary=False),
        civitai_file(b"small", id=7003, name="b.safetensors", primary=False, metadata=pruned),
    ]

    def picked(text: str) -> list[str]:
        return [file.name for file in civitai.resolve(text).files if file.primary]

    download = "https://civitai.com/api/download/models/456"
    assert picked("456") == ["paper_lanterns_v2.safetensors"]
    assert picked(f"{download}?type=Model&format=SafeTensor&size=pruned&fp=fp16") == [
        "b.safetensors"
    ]
    assert picked(f"{download}?fileId=7002") == ["a.ckpt"]
    assert picked("urn:air:sdxl:lora:civitai:123@456+7003") == ["b.safetensors"]
    assert picked(f"{download}?fileId=1") == ["paper_lanterns_v2.safetensors"]


def test_a_safetensors_file_goes_before_a_primary_pickle(
    fake: FakeModelHub, civitai: Civitai
) -> None:
    version = fake.add_civitai(b"data", file={"name": "a.ckpt"})
    version["files"].append(civitai_file(b"b", name="b.safetensors", primary=False))
    assert [f.name for f in civitai.resolve("456").files if f.primary] == ["b.safetensors"]


def test_a_version_of_another_model_is_not_taken(fake: FakeModelHub, civitai: Civitai) -> None:
    fake.add_civitai(b"data")
    text = "https://civitai.com/models/99?modelVersionId=456"
    assert refusal(lambda: civitai.resolve(text)).code == "hub_unknown"


def test_what_is_not_there_is_said(civitai: Civitai) -> None:
    with pytest.raises(UnknownNameError, match="nothing there: Model not found") as caught:
        civitai.version(1)
    assert caught.value.code == "hub_unknown"


def test_it_waits_as_long_as_the_service_asks_and_says_so(
    fake: FakeModelHub, civitai: Civitai, clock: Clock
) -> None:
    fake.add_civitai(b"data")
    fake.faults.api = [(429, {"Retry-After": "40"}), (503, {}), (524, {})]
    assert civitai.version(456).title == "Paper Lanterns"
    assert clock.said == [
        "Civitai asks to wait; trying again in 40 seconds.",
        "Civitai is out of order (status 503); trying again in 2 seconds.",
        "Civitai is out of order (status 524); trying again in 5 seconds.",
    ]
    assert clock.now == pytest.approx(47, abs=1)


def test_it_waits_until_a_date(fake: FakeModelHub, civitai: Civitai, clock: Clock) -> None:
    fake.add_civitai(b"data")
    fake.faults.api = [(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})]
    assert civitai.version(456)
    assert clock.now == pytest.approx(1, abs=0.3)


def test_an_outage_is_given_up_after_a_while(
    fake: FakeModelHub, civitai: Civitai, clock: Clock
) -> None:
    fake.faults.api = [(502, {})] * 1000
    error = refusal(lambda: civitai.version(456))
    assert error.code == "hub_unreachable"
    assert "gave up" in error.message
    assert 500 < clock.now <= 600
    assert len(fake.requests) < 40


def test_a_wait_of_hours_is_not_begun(fake: FakeModelHub, civitai: Civitai, clock: Clock) -> None:
    fake.faults.api = [(429, {"Retry-After": "7200"})]
    error = refusal(lambda: civitai.version(456))
    assert error.code == "hub_unreachable"
    assert "2 hours" in error.fix
    assert clock.now == 0


def test_a_wait_that_is_no_number_to_reckon_with_is_not_begun(
    fake: FakeModelHub, civitai: Civitai, clock: Clock
) -> None:
    fake.faults.api = [(429, {"Retry-After": "9" * 400})]
    assert refusal(lambda: civitai.version(456)).code == "hub_unreachable"
    assert clock.now == 0


def test_a_page_against_robots_is_waited_for_but_not_long(
    fake: FakeModelHub, civitai: Civitai, clock: Clock
) -> None:
    fake.add_civitai(b"data")
    fake.faults.api_page = 2
    assert civitai.version(456)
    fake.faults.api_page = 1000
    clock.now = 0
    assert refusal(lambda: civitai.version(456)).code == "hub_unreachable"
    assert clock.now <= 60


def test_a_service_that_is_not_there_is_told_as_such(clock: Clock) -> None:
    civitai = Civitai(Hub("Civitai", "http://127.0.0.1:9", None), caller=clock.caller())
    error = refusal(lambda: civitai.version(456))
    assert (error.code, isinstance(error, HubError)) == ("hub_unreachable", True)
    assert "no connection" in error.message


def test_a_wait_can_be_cancelled(fake: FakeModelHub, clock: Clock) -> None:
    caller = clock.caller(cancelled=lambda: clock.now > 3)
    fake.faults.api = [(429, {"Retry-After": "300"})]
    with pytest.raises(CancelledError):
        Civitai(Hub("Civitai", fake.url), caller=caller).version(456)
    assert clock.now < 4


@pytest.mark.parametrize(
    ("status", "code"), [(401, "hub_wants_key"), (403, "hub_wants_key"), (400, "hub_failed")]
)
def test_refusals_are_not_tried_again(
    fake: FakeModelHub, civitai: Civitai, status: int, code: str
) -> None:
    fake.faults.api = [(status, {})] * 2
    error = refusal(lambda: civitai.version(456))
    assert error.code == code
    assert len(fake.requests) == 1
    if status != 400:
        assert error.fix == "Set the key."


def test_the_key_goes_to_the_service_in_a_header(fake: FakeModelHub, civitai: Civitai) -> None:
    fake.add_civitai(b"data")
    civitai.version(456)
    sent = {one.headers.get("Authorization") for one in fake.requests}
    assert sent == {f"Bearer {KEY}"}
    assert all(KEY not in str(one.query) for one in fake.requests)


def test_the_key_comes_from_the_environment_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CIVITAI_API_KEY", raising=False)
    assert civitai_key() is None
    monkeypatch.setenv("CIVITAI_API_KEY", "one")
    assert civitai_key() == "one"
    monkeypatch.setenv("KIZY_CIVITAI_KEY", " two ")
    assert civitai_key() == "two"
    assert "two" not in repr(civitai_hub())


def test_a_service_without_tls_gets_no_request(clock: Clock) -> None:
    civitai = Civitai(Hub("Civitai", "http://civitai.example", KEY), caller=clock.caller())
    with pytest.raises(InputError) as caught:
        civitai.version(456)
    assert caught.value.code == "download_refused"
