"""A real ComfyUI that Kizy starts, where one is given."""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from kizy.core.comfyui_address import Address
from kizy.orchestrator.backends.comfyui.launcher import pids
from kizy.orchestrator.backends.comfyui.launcher import server_records as records
from kizy.orchestrator.backends.comfyui.launcher import supervisor as supervise
from kizy.orchestrator.backends.comfyui.launcher.managed_servers import ManagedServers, Options
from kizy.orchestrator.backends.comfyui.launcher.process import port_is_free
from kizy.orchestrator.backends.comfyui.protocol import probe

FOLDER = os.environ.get("KIZY_TEST_COMFYUI")
PYTHON = os.environ.get("KIZY_TEST_COMFYUI_PYTHON")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason="KIZY_TEST_COMFYUI names no ComfyUI folder"),
]

PATIENCE = 120.0


def options() -> Options:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Options(
        folder=Path(str(FOLDER)),
        interpreter=Path(PYTHON) if PYTHON else None,
        arguments=("--disable-api-nodes",),
        gpus="none",
        port=port,
    )


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)
    return found


def draw_starter(address: Address) -> list[dict[str, str]]:
    """The files of one picture by ComfyUI's own nodes."""
    nodes = {
        "1": ("CheckpointLoaderSimple", {"ckpt_name": "kizy-starter.safetensors"}),
        "2": ("CLIPTextEncode", {"text": "a red fox", "clip": ["1", 1]}),
        "3": ("CLIPTextEncode", {"text": "", "clip": ["1", 1]}),
        "4": ("EmptyLatentImage", {"width": 128, "height": 128, "batch_size": 1}),
        "5": (
            "KSampler",
            {
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["3", 0],
                "latent_image": ["4", 0],
                "seed": 1,
                "steps": 2,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "simple",
                "denoise": 1.0,
            },
        ),
        "6": ("VAEDecode", {"samples": ["5", 0], "vae": ["1", 2]}),
        "7": ("SaveImage", {"images": ["6", 0], "filename_prefix": "Kizy/picture"}),
    }
    graph = {key: {"class_type": kind, "inputs": given} for key, (kind, given) in nodes.items()}
    prompt_id = str(uuid.uuid4())
    body = {"prompt": graph, "prompt_id": prompt_id, "client_id": "test"}
    answer = requests.post(f"{address.url}/prompt", json=body, timeout=30)
    assert answer.ok, answer.text

    def done() -> Any:
        history = requests.get(f"{address.url}/history/{prompt_id}", timeout=30).json()
        return history.get(prompt_id)

    entry = until(done)
    assert entry["status"]["status_str"] == "success", entry["status"]
    return entry["outputs"]["7"]["images"]


def test_it_draws_the_starter_is_started_again_when_it_dies_and_ends_with_kizy(
    kizy_home: Path,
) -> None:
    (kizy_home / "loras").mkdir()
    (kizy_home / "loras" / "mine.safetensors").touch()
    with ManagedServers(options()) as servers:
        [address] = servers.addresses()
        assert probe.has_pack(address, timeout=30)
        listed = requests.get(f"{address.url}/models/loras", timeout=30).json()
        assert "mine.safetensors" in listed
        [picture] = draw_starter(address)
        port = int(address.url.rpartition(":")[2])
        folder = kizy_home / "comfyui" / str(port) / "output"
        assert (folder / picture["subfolder"] / picture["filename"]).stat().st_size > 1000

        first = records.running_servers()[0].process
        assert first is not None
        os.kill(first.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        until(lambda: pids.is_running(first.id) is False)
        until(lambda: servers.addresses() == [address] and probe.vitals(address, timeout=30))
        second = records.running_servers()[0].process
        assert second is not None and second.pid != first.pid
    assert pids.is_running(second.id) is False
    assert port_is_free(port)


def test_in_the_background_it_runs_until_it_is_stopped() -> None:
    said: list[str] = []
    try:
        [address] = supervise.start_detached(options(), say=said.append)
        assert probe.vitals(address, timeout=30).version in said[-1]
        [server] = records.running_servers()
        assert server.process is not None
    finally:
        supervise.stop_all()
    assert pids.is_running(server.process.id) is False
