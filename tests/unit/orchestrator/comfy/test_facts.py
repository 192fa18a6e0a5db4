"""/object_info is asked for once, kept on disk, and asked again in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kizy.core.comfyui_address import Address
from kizy.core.errors import EngineError
from kizy.orchestrator.backends.comfyui.protocol.client import ComfyClient
from kizy.orchestrator.backends.comfyui.protocol.object_info import server_folder

from tests.fakes.comfyui import FakeComfyUI

Connect = Callable[..., ComfyClient]


def asked(fake: FakeComfyUI) -> int:
    return fake.requests.count("GET /object_info")


def stored(home: Path) -> list[Path]:
    return sorted((home / "cache" / "comfyui").rglob("object_info-*.json"))


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_the_facts_are_those_of_the_server(fake: FakeComfyUI, client: ComfyClient) -> None:
    fake.models["loras"] = ["fox.safetensors"]
    facts = client.facts()
    assert (facts.address, facts.version) == (fake.url, "0.3.64")
    assert facts.has("KSampler")
    assert facts.choices("LoraLoader", "lora_name") == ("fox.safetensors",)


def test_they_are_asked_for_once(fake: FakeComfyUI, connect: Connect) -> None:
    client = connect()
    assert client.facts() is client.facts()
    assert asked(fake) == 1


def test_another_process_finds_them_on_disk(
    fake: FakeComfyUI, connect: Connect, kizy_home: Path
) -> None:
    connect().facts()
    assert len(stored(kizy_home)) == 1
    fake.faults.object_info_held = True
    assert connect().facts().has("KSampler")


def test_what_is_on_disk_is_refreshed_in_the_background(
    fake: FakeComfyUI, connect: Connect
) -> None:
    connect().facts()
    fake.models["loras"] = ["new.safetensors"]
    client = connect()
    assert client.facts().choices("LoraLoader", "lora_name") != ("new.safetensors",)
    wait_until(lambda: client.facts().choices("LoraLoader", "lora_name") == ("new.safetensors",))


def test_facts_that_are_old_are_refreshed_while_the_old_ones_serve(
    fake: FakeComfyUI, connect: Connect
) -> None:
    client = connect(facts_fresh=0.0)
    client.facts()
    fake.faults.object_info_held = True
    fake.models["loras"] = ["new.safetensors"]
    assert client.facts().choices("LoraLoader", "lora_name") != ("new.safetensors",)
    fake.faults.object_info_held = False
    wait_until(lambda: client.facts().choices("LoraLoader", "lora_name") == ("new.safetensors",))


def test_refreshing_waits_for_what_is_new(fake: FakeComfyUI, connect: Connect) -> None:
    client = connect()
    client.facts()
    fake.models["loras"] = ["new.safetensors"]
    assert client.refresh_facts().choices("LoraLoader", "lora_name") == ("new.safetensors",)
    assert client.facts().choices("LoraLoader", "lora_name") == ("new.safetensors",)


def test_all_who_ask_at_once_share_one_request(fake: FakeComfyUI, client: ComfyClient) -> None:
    fake.faults.object_info_held = True
    threads = [threading.Thread(target=client.refresh_facts) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: asked(fake) == 1)
    fake.faults.object_info_held = False
    for thread in threads:
        thread.join(10)
    assert asked(fake) == 1


def test_another_version_is_asked_anew(
    fake: FakeComfyUI, connect: Connect, kizy_home: Path
) -> None:
    connect().facts()
    fake.version = "0.4.0/../x"
    fake.restart()
    assert connect().facts().version == "0.4.0/../x"
    assert asked(fake) == 2
    assert [file.name for file in stored(kizy_home)] == ["object_info-0.4.0-..-x.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": 1}', "[" * 99999, "\udcff"])
def test_a_damaged_file_is_ignored(
    fake: FakeComfyUI, connect: Connect, kizy_home: Path, content: str
) -> None:
    connect().facts()
    (file,) = stored(kizy_home)
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert connect().facts().has("KSampler")
    assert asked(fake) == 2


def test_deleting_the_cache_does_no_harm(
    fake: FakeComfyUI, connect: Connect, kizy_home: Path
) -> None:
    connect().facts()
    stored(kizy_home)[0].unlink()
    assert connect().facts().has("KSampler")


def test_a_cache_that_cannot_be_written_does_no_harm(connect: Connect, kizy_home: Path) -> None:
    (kizy_home / "cache").write_text("a file")
    assert connect().facts().has("KSampler")


def test_a_server_that_is_away_is_told_of_when_nothing_is_known(
    fake: FakeComfyUI, connect: Connect
) -> None:
    client = connect()
    fake.stop()
    with pytest.raises(EngineError) as caught:
        client.facts()
    assert caught.value.code == "server_unreachable"


def test_a_refresh_that_fails_keeps_what_is_known(fake: FakeComfyUI, connect: Connect) -> None:
    client = connect(facts_fresh=0.0)
    client.facts()
    fake.stop()
    for _ in range(5):
        assert client.facts().has("KSampler")


def test_two_servers_do_not_share_their_facts() -> None:
    one, two = (server_folder(Address("a", f"http://x:{port}")) for port in (1, 2))
    assert one != two
    assert server_folder(Address("b", "http://x:1", "key")) == one


def test_the_folder_of_a_server_has_a_harmless_name(kizy_home: Path) -> None:
    folder = server_folder(Address("a", "https://x/../../etc"))
    assert folder.parent == kizy_home / "cache" / "comfyui"
