"""The pack's routes, on a small server of their own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from kizy.nodes.lora_shelf import LoraShelf
from kizy.nodes.routes import Place, RefusedError, add_routes, file_name, is_loopback
from safetensors.numpy import save

LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def lora_bytes(title: str = "Ink", size: int = 320, context: int = 768) -> bytes:
    tensors = {
        f"{LAYER}.lora_up.weight": np.zeros((size, 4), np.float16),
        f"{LAYER}.lora_down.weight": np.zeros((4, context), np.float16),
    }
    return save(tensors, {"modelspec.title": title})


@dataclass
class Comfy:
    """What the routes see of a ComfyUI."""

    base: Path
    addresses: tuple[str, ...] = ("127.0.0.1",)
    key: str | None = None
    loras: Path = field(init=False)

    def __post_init__(self) -> None:
        self.loras = self.base / "loras"
        self.loras.mkdir(parents=True)

    def listed(self) -> tuple[str, ...]:
        return tuple(
            path.relative_to(self.loras).as_posix() for path in self.loras.rglob("*.safetensors")
        )

    def ask(self, talk: Callable[[TestClient], Awaitable[Any]]) -> Any:
        """Run a conversation with the routes."""
        table = web.RouteTableDef()
        place = Place(
            shelf=LoraShelf(lambda: [self.loras]),
            listed=self.listed,
            input=lambda: self.base / "input",
            addresses=lambda: self.addresses,
            key=lambda: self.key,
        )
        add_routes(table, place)

        async def run() -> Any:
            app = web.Application(client_max_size=1000)
            app.add_routes(table)
            async with TestClient(TestServer(app)) as client:
                return await talk(client)

        return asyncio.run(run())

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        async def talk(client: TestClient) -> tuple[int, Any]:
            answer = await client.get(path, headers=headers)
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

        return self.ask(talk)

    def post(self, path: str, data: bytes, **headers: str) -> tuple[int, Any]:
        async def talk(client: TestClient) -> tuple[int, Any]:
            answer = await client.post(path, data=data, headers=headers)
            return answer.status, await answer.json()

        return self.ask(talk)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.loras.iterdir())


@pytest.fixture
def comfy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comfy:
    monkeypatch.setenv("KIZY_HOME", str(tmp_path / "home"))
    return Comfy(tmp_path / "comfy")


def test_a_lora_is_kept_and_listed_in_the_catalog(comfy: Comfy) -> None:
    data = lora_bytes()
    status, told = comfy.post("/kizy/loras?name=ink.safetensors", data)
    assert (status, told["name"], told["new"]) == (201, "ink.safetensors", True)
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    status, told = comfy.get("/kizy/catalog")
    (lora,) = told["loras"]
    assert (lora["file"], lora["name"]) == ("ink.safetensors", "Ink")
    assert lora["health"] == "ok"
    assert "key" not in lora


def test_the_same_file_again_is_not_kept_twice(comfy: Comfy) -> None:
    comfy.post("/kizy/loras?name=ink.safetensors", lora_bytes())
    status, told = comfy.post("/kizy/loras?name=ink.safetensors", lora_bytes())
    assert (status, told["new"]) == (200, False)
    assert comfy.files() == ["ink.safetensors"]


def test_another_file_of_the_same_name_never_replaces_it(comfy: Comfy) -> None:
    comfy.post("/kizy/loras?name=ink.safetensors", lora_bytes())
    _, told = comfy.post("/kizy/loras?name=ink.safetensors", lora_bytes("Other"))
    assert told["name"] == "ink-2.safetensors"
    assert comfy.files() == ["ink-2.safetensors", "ink.safetensors"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x95pickled" * 20,
        b"",
        lora_bytes()[:200],
        save({"model.weight": np.zeros((4, 4), np.float32)}),
    ],
    ids=["pickle", "empty", "cut", "no LoRA"],
)
def test_what_is_no_lora_is_refused_and_leaves_nothing(comfy: Comfy, data: bytes) -> None:
    status, told = comfy.post("/kizy/loras?name=x.safetensors", data)
    assert status == 400
    assert told["error"]["message"]
    assert told["error"]["fix"]
    assert ".part" not in told["error"]["message"]
    assert comfy.files() == []


def test_a_file_that_changed_on_its_way_is_refused(comfy: Comfy) -> None:
    headers = {"X-Kizy-Sha256": "0" * 64}
    status, _ = comfy.post("/kizy/loras?name=x.safetensors", lora_bytes(), **headers)
    assert status == 400
    assert comfy.files() == []


@pytest.mark.parametrize("name", ["", "a.ckpt", "..", "con.safetensors", ".safetensors"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(RefusedError):
        file_name(name, (".safetensors",))


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../x.safetensors", "x.safetensors"),
        ("C:\\loras\\x.SAFETENSORS", "x.safetensors"),
        (".hidden.safetensors", "hidden.safetensors"),
        ("tinte ähm.safetensors", "tinte ähm.safetensors"),
        ("a\0b\n.safetensors", "a_b_.safetensors"),
        ("x" * 400 + ".safetensors", "x" * 120 + ".safetensors"),
    ],
)
def test_no_name_leaves_the_folder(name: str, kept: str) -> None:
    assert file_name(name, (".safetensors",)) == kept


def test_beyond_loopback_a_key_is_wanted(comfy: Comfy) -> None:
    comfy.addresses = ("0.0.0.0", "::")
    status, told = comfy.get("/kizy/catalog")
    assert status == 403
    assert "KIZY_COMFYUI_KEY" in told["error"]["fix"]
    comfy.key = "secret"
    assert comfy.get("/kizy/catalog")[0] == 401
    assert comfy.get("/kizy/catalog", Authorization="Bearer wrong")[0] == 401
    assert comfy.get("/kizy/catalog", Authorization="Bearer secret")[0] == 200
    assert comfy.post("/kizy/loras?name=x.safetensors", lora_bytes())[0] == 401
    assert comfy.files() == []


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)],
)
def test_loopback_is_told_from_others(address: str, own: bool) -> None:
    assert is_loopback(address) is own


def test_an_unchanged_catalog_is_not_sent_again(comfy: Comfy) -> None:
    async def talk(client: TestClient) -> tuple[int, int]:
        first = await client.get("/kizy/catalog")
        again = await client.get("/kizy/catalog", headers={"If-None-Match": first.headers["ETag"]})
        return first.status, again.status

    assert comfy.ask(talk) == (200, 304)


def test_pictures_for_training_go_into_a_set(comfy: Comfy) -> None:
    status, told = comfy.post("/kizy/pictures?set=0123456789abcdef&name=my cats.zip", b"PK\x05\x06")
    assert status == 201
    assert told["folder"] == "kizy/0123456789abcdef"
    assert (comfy.base / "input" / told["name"]).read_bytes() == b"PK\x05\x06"
    assert comfy.post("/kizy/pictures?set=../x&name=a.zip", b"x")[0] == 400
    assert comfy.post("/kizy/pictures?set=0123456789abcdef&name=a.exe", b"x")[0] == 400


def test_whether_pictures_are_taken_is_told_before_they_are_sent(comfy: Comfy) -> None:
    assert comfy.get("/kizy/pictures") == (204, None)
    comfy.addresses = ("0.0.0.0",)
    assert comfy.get("/kizy/pictures")[0] == 403
    comfy.key = "secret"
    assert comfy.get("/kizy/pictures")[0] == 401
    assert comfy.get("/kizy/pictures", Authorization="Bearer secret")[0] == 204


def test_old_uploads_go_when_a_route_is_used(comfy: Comfy) -> None:
    old = comfy.base / "input" / "kizy" / "0123456789abcdef"
    old.mkdir(parents=True)
    (old / "cats.zip").write_bytes(b"PK")
    for path in (old / "cats.zip", old):
        os.utime(path, (0, 0))
    comfy.post("/kizy/pictures?set=fedcba9876543210&name=a.zip", b"PK")
    assert [path.name for path in (comfy.base / "input" / "kizy").iterdir()] == ["fedcba9876543210"]
