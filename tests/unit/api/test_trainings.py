"""Asking for a training."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from kizy.core.request import TrainingRequest
from starlette.testclient import TestClient

from tests.fakes.service import FakeService

PATH = "/v1/trainings"


@pytest.fixture
def two(png: Any) -> list[Any]:
    """Two pictures as parts of a form."""
    return [
        ("files", ("mimi 1.png", png("red"), "image/png")),
        ("files", ("mimi 2.png", png("blue"), "image/png")),
    ]


def files_of(fake: FakeService, job: str) -> tuple[str, ...]:
    request = fake.job(job).request
    assert isinstance(request, TrainingRequest)
    return request.files


def test_files_and_a_name_become_a_training(api: TestClient, fake: FakeService, two: Any) -> None:
    values = {"name": "Mimi", "about": "a grey cat", "steps": "100", "rank": "auto"}
    answer = api.post(PATH, data=values, files=two)
    job = answer.json()
    assert (answer.status_code, job["kind"], job["title"]) == (202, "training", "Mimi")
    assert (job["request"]["steps"], job["request"]["about"]) == (100, "a grey cat")
    assert [name.partition("/")[2] for name in files_of(fake, job["id"])] == [
        "mimi 1.png",
        "mimi 2.png",
    ]


def test_files_may_have_been_uploaded_before(api: TestClient, fake: FakeService, png: Any) -> None:
    upload = api.post("/v1/uploads?name=a.png", content=png()).json()["id"]
    by_form = api.post(PATH, files=[("name", (None, "Mimi")), ("files", (None, upload))])
    by_json = api.post(PATH, json={"name": "Mimi", "files": [upload]})
    for answer in (by_form, by_json):
        assert answer.status_code == 202, answer.text
        assert files_of(fake, answer.json()["id"]) == (upload,)


def test_a_zip_and_captions_are_taken(api: TestClient, fake: FakeService, png: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", png())
    files = {"files": ("mimi.zip", buffer.getvalue(), "application/zip")}
    assert api.post(PATH, data={"name": "Mimi"}, files=files).status_code == 202


def test_the_same_idempotency_key_gives_the_same_training(api: TestClient, two: Any) -> None:
    headers = {"Idempotency-Key": "once"}
    ids = {
        api.post(PATH, data={"name": "Mimi"}, files=two, headers=headers).json()["id"]
        for _ in range(2)
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    "values",
    [{}, {"name": ""}, {"name": "x", "steps": "many"}, {"name": "x", "colour": "red"}],
)
def test_wrong_values_are_refused_before_any_file_is_kept(
    api: TestClient, fake: FakeService, two: Any, values: dict[str, str]
) -> None:
    answer = api.post(PATH, data=values, files=two)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["errors"][0]["where"]
    assert list(fake._table.uploads) == []


def test_a_training_without_files_is_refused(api: TestClient) -> None:
    assert api.post(PATH, files={"name": (None, "Mimi")}).status_code == 422
    assert api.post(PATH, json={"name": "Mimi", "files": []}).status_code == 422


def test_a_file_of_no_use_is_refused(api: TestClient) -> None:
    files = {"files": ("virus.exe", b"MZ", "image/png")}
    answer = api.post(PATH, data={"name": "Mimi"}, files=files)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_a_path_of_the_servers_disk_is_no_file(both: TestClient) -> None:
    answer = both.post(PATH, json={"name": "Mimi", "files": ["/etc"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "upload_unknown")


def test_another_kind_of_body_is_refused(api: TestClient) -> None:
    assert api.post(PATH, content=b"name=Mimi").status_code == 415
    headers = {"Content-Type": "application/json"}
    assert api.post(PATH, content=b"{", headers=headers).json()["code"] == "request_invalid"
