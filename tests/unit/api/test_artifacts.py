"""Finished files: whole, in ranges, unchanged, small."""

from __future__ import annotations

import io
from typing import Any

import pytest
from kizy.core.picture_files import read_plan
from kizy.orchestrator.server.rest.artifact_routes import disposition
from kizy.orchestrator.server.rest.thumbnails import Thumbnails
from kizy.orchestrator.service import ArtifactFile
from PIL import Image
from starlette.testclient import TestClient

from tests.fakes.service import FakeService


@pytest.fixture
def drawn(both: TestClient) -> str:
    """The path of a finished picture, on the fake and on the queue itself."""
    job = both.post("/v1/generations", json={"prompt": "a fox", "seed": 5}).json()
    while not job["links"]["artifacts"]:
        job = both.get(job["links"]["self"]).json()
    return job["links"]["artifacts"][0]


def test_a_picture_is_fetched_with_its_plan_inside(
    both: TestClient, drawn: str, tmp_path: Any
) -> None:
    answer = both.get(drawn)
    file = tmp_path / "picture.png"
    file.write_bytes(answer.content)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert read_plan(file).seed == 5


def test_its_name_and_kind_are_told_and_nothing_in_it_is_run(both: TestClient, drawn: str) -> None:
    headers = both.get(drawn).headers
    assert headers["content-disposition"].startswith('inline; filename="')
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert headers["etag"].strip('"') == drawn.rpartition("/")[2]


@pytest.mark.parametrize(
    ("wanted", "begin", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, None),
        ("bytes=-7", -7, None),
        ("bytes=5-999999999", 5, None),
        ("bytes = 0 - 0", 0, 1),
    ],
)
def test_a_range_is_fetched_alone(
    both: TestClient, drawn: str, wanted: str, begin: int, end: int | None
) -> None:
    whole = both.get(drawn).content
    answer = both.get(drawn, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, whole[begin:end])
    first = begin % len(whole)
    last = (end if end is not None else len(whole)) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "bytes=9-2", "lines=1-2", "bytes=-", "x"])
def test_ranges_that_are_unclear_or_many_bring_the_whole(
    both: TestClient, drawn: str, wanted: str
) -> None:
    answer = both.get(drawn, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, both.get(drawn).content)


@pytest.mark.parametrize("wanted", ["bytes=999999-", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(both: TestClient, drawn: str, wanted: str) -> None:
    answer = both.get(drawn, headers={"Range": wanted})
    size = len(both.get(drawn).content)
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
    assert answer.json()["code"] == "request_invalid"


def test_a_part_of_another_version_is_not_added_to_this_one(both: TestClient, drawn: str) -> None:
    headers = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert both.get(drawn, headers=headers).status_code == 200
    headers["If-Range"] = both.get(drawn).headers["etag"]
    assert both.get(drawn, headers=headers).status_code == 206


@pytest.mark.parametrize("tags", ["{}", "W/{}", '"other", {}', "*"])
def test_what_is_known_already_is_not_sent_again(both: TestClient, drawn: str, tags: str) -> None:
    etag = both.get(drawn).headers["etag"]
    answer = both.get(drawn, headers={"If-None-Match": tags.format(etag)})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == etag


def test_head_tells_all_but_the_content(both: TestClient, drawn: str) -> None:
    answer = both.head(drawn)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(both.get(drawn).content))


@pytest.mark.parametrize("side", [64, 128, 256, 512])
def test_a_thumbnail_is_a_small_webp(
    api: TestClient, fake: FakeService, side: int
) -> None:  # fmt: skip
    body = {"prompt": "a fox", "size": "1024x512"}
    job = api.post("/v1/generations", json=body).json()
    path = api.get(job["links"]["self"]).json()["links"]["artifacts"][0]
    answer = api.get(path, params={"thumbnail": side})
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (side, side // 2)
    etag = answer.headers["etag"]
    assert etag != api.get(path).headers["etag"]
    again = api.get(path, params={"thumbnail": side}, headers={"If-None-Match": etag})
    assert again.status_code == 304


@pytest.mark.parametrize("side", ["63", "1", "100000", "x", "-64"])
def test_other_sizes_of_thumbnails_are_refused(both: TestClient, drawn: str, side: str) -> None:
    answer = both.get(drawn, params={"thumbnail": side})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_only_pictures_have_thumbnails(api: TestClient, png: Any) -> None:
    files = {"files": ("a.png", png(), "image/png")}
    job = api.post("/v1/trainings", data={"name": "Mimi"}, files=files).json()
    lora = api.get(job["links"]["self"]).json()["links"]["artifacts"][0]
    assert api.get(lora, params={"thumbnail": 64}).json()["code"] == "request_invalid"
    assert api.get(lora).headers["content-disposition"].startswith("attachment")


def test_a_file_that_was_removed_is_gone(api: TestClient, fake: FakeService) -> None:
    job = api.post("/v1/generations", json={"prompt": "a fox"}).json()
    path = api.get(job["links"]["self"]).json()["links"]["artifacts"][0]
    fake.lose(path.rpartition("/")[2])
    assert (api.get(path).status_code, api.get(path).json()["code"]) == (410, "artifact_gone")
    assert api.get(job["links"]["self"]).json()["links"]["artifacts"] == []


def test_a_file_that_vanished_from_the_disk_is_gone(api: TestClient, fake: FakeService) -> None:
    job = api.post("/v1/generations", json={"prompt": "a fox"}).json()
    path = api.get(job["links"]["self"]).json()["links"]["artifacts"][0]
    fake.artifact(path.rpartition("/")[2]).path.unlink()
    assert api.get(path).json()["code"] == "artifact_gone"
    assert api.get(path, params={"thumbnail": 64}).json()["code"] == "artifact_gone"


def test_a_name_of_any_letters_is_told_safely(tmp_path: Any) -> None:
    name = 'fox "🦊"\r\nSet-Cookie: a=b.png'
    told = disposition(ArtifactFile(tmp_path, name, "image/png", "0"))
    assert told.isascii()
    assert not {"\r", "\n"} & set(told)
    assert told.endswith(".png")


def test_thumbnails_are_made_once_and_the_oldest_forgotten(tmp_path: Any, png: Any) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png("red", (256, 256)))
    thumbnails = Thumbnails(kept=1)
    first = thumbnails.get("a", file, 64)
    file.unlink()
    with pytest.raises(Exception, match="There is no file"):
        thumbnails.get("a", file, 64)
    file.write_bytes(png("red", (256, 256)))
    roomy = Thumbnails()
    assert roomy.get("a", file, 64) == first
    file.unlink()
    assert roomy.get("a", file, 64) == first
