"""LoRAs that lie here on their way to a server."""

from __future__ import annotations

from pathlib import Path

import torch
from kizy.catalog.comfy_file import name_there
from kizy.core.plan import ModelFile, Plan, PlannedLora
from kizy.orchestrator.backends.comfyui.protocol.lora_upload import (
    PACK_NODE,
    as_if_sent,
    missing,
    send,
)
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts
from safetensors.torch import load_file, save_file

from tests.fakes.drawer import plan_of


def facts(*listed: str, pack: bool = True) -> ServerFacts:
    info = {"LoraLoader": {"input": {"required": {"lora_name": [list(listed)]}}}}
    return ServerFacts("http://there", "0.3.64", info | ({PACK_NODE: {}} if pack else {}))


def plan_with(path: Path | None, name: str = "ink.safetensors") -> Plan:
    file = ModelFile(name=name, path=str(path) if path else None, sha256="0" * 64)
    return plan_of(loras=(PlannedLora(file=file, model_weight=1, clip_weight=1),))


class There:
    """A server that takes LoRAs, under other names."""

    def __init__(self, sha256: str | None = "0" * 64) -> None:
        self.sent: list[Path] = []
        self.sha256 = sha256

    def send_lora(self, file: Path, sha256: str | None) -> str:
        assert self.sha256 is None or sha256 == self.sha256
        self.sent.append(file)
        return "ink-2.safetensors"

    def refresh_facts(self) -> ServerFacts:
        return facts("ink-2.safetensors")


def lora_in(folder: Path) -> Path:
    path = folder / "ink.safetensors"
    path.write_bytes(b"weights")
    return path


def test_what_the_server_lacks_is_sent_and_called_as_it_is_there(tmp_path: Path) -> None:
    there = There()
    plan, now = send(plan_with(lora_in(tmp_path)), facts(), there)
    assert there.sent == [tmp_path / "ink.safetensors"]
    assert [lora.file.name for lora in plan.loras] == ["ink-2.safetensors"]
    assert list(missing(plan, now)) == []


def test_what_the_server_lists_is_not_sent(tmp_path: Path) -> None:
    there, given = There(), plan_with(lora_in(tmp_path))
    known = facts("ink.safetensors")
    assert send(given, known, there) == (given, known)
    assert there.sent == []


def test_a_server_without_the_pack_is_sent_nothing(tmp_path: Path) -> None:
    plan = plan_with(lora_in(tmp_path))
    assert list(missing(plan, facts(pack=False))) == []
    assert as_if_sent(plan, facts(pack=False)).choices("LoraLoader", "lora_name") == ()


def test_a_file_that_went_is_not_sent(tmp_path: Path) -> None:
    assert list(missing(plan_with(tmp_path / "gone.safetensors"), facts())) == []
    assert list(missing(plan_with(None), facts())) == []


def test_the_graph_is_checked_as_if_it_were_there_and_the_facts_stay(tmp_path: Path) -> None:
    before = facts("other.safetensors")
    after = as_if_sent(plan_with(lora_in(tmp_path)), before)
    listed = after.choices("LoraLoader", "lora_name")
    assert listed == ("other.safetensors", "ink.safetensors")
    assert before.choices("LoraLoader", "lora_name") == ("other.safetensors",)


KEY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"


def in_pefts_names(folder: Path) -> Path:
    path = folder / "ink.safetensors"
    pair = {
        f"unet.{KEY}.lora_A.weight": torch.ones(4, 384),
        f"unet.{KEY}.lora_B.weight": torch.ones(64, 4),
    }
    save_file(pair, path)
    return path


def starter_plan(path: Path) -> Plan:
    return plan_with(path).model_copy(update={"family": "starter"})


def test_what_comfyui_cannot_read_is_sent_under_names_that_it_reads(
    kizy_home: Path, tmp_path: Path
) -> None:
    there, path = There(None), in_pefts_names(tmp_path)
    # The file lies there, too, as it is: it changes nothing there.
    plan, _ = send(starter_plan(path), facts("ink.safetensors"), there)
    (sent,) = there.sent
    assert "lora_unet_" + KEY.replace(".", "_") + ".lora_down.weight" in load_file(sent)
    assert sent.name.startswith("ink-")
    assert [lora.file.name for lora in plan.loras] == ["ink-2.safetensors"]


def test_what_was_sent_converted_is_not_sent_again(kizy_home: Path, tmp_path: Path) -> None:
    there, path = There(None), in_pefts_names(tmp_path)
    name = name_there(path, "starter")
    assert name is not None
    known = facts("ink.safetensors", name)
    plan, _ = send(starter_plan(path), known, there)
    assert there.sent == []
    assert [lora.file.name for lora in plan.loras] == [name]
    assert "ink.safetensors" in as_if_sent(starter_plan(path), known).choices(
        "LoraLoader", "lora_name"
    )


def test_a_server_that_has_it_only_in_a_form_that_it_cannot_read_counts_as_without(
    kizy_home: Path, tmp_path: Path
) -> None:
    plan, there = starter_plan(in_pefts_names(tmp_path)), facts("ink.safetensors", pack=False)
    assert as_if_sent(plan, there).choices("LoraLoader", "lora_name") == ()
