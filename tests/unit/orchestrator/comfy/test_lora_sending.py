"""LoRAs that lie here on their way to a server."""

from __future__ import annotations

from pathlib import Path

from kizy.core.plan import ModelFile, Plan, PlannedLora
from kizy.orchestrator.engines.comfy.lora_sending import PACK_NODE, as_if_sent, missing, send
from kizy.orchestrator.templates.server import ServerFacts

from tests.fakes.drawer import plan_of


def facts(*listed: str, pack: bool = True) -> ServerFacts:
    info = {"LoraLoader": {"input": {"required": {"lora_name": [list(listed)]}}}}
    return ServerFacts("http://there", "0.3.64", info | ({PACK_NODE: {}} if pack else {}))


def plan_with(path: Path | None, name: str = "ink.safetensors") -> Plan:
    file = ModelFile(name=name, path=str(path) if path else None, sha256="0" * 64)
    return plan_of(loras=(PlannedLora(file=file, model_weight=1, clip_weight=1),))


class There:
    """A server that takes LoRAs, under other names."""

    def __init__(self) -> None:
        self.sent: list[Path] = []

    def send_lora(self, file: Path, sha256: str | None) -> str:
        assert sha256 == "0" * 64
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
