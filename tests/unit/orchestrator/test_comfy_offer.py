"""What ComfyUI servers offer the planner: which model, which LoRA, by their lists alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from kizy.catalog.families.family import family
from kizy.catalog.index.hashes import file_sha256, tensors_sha256
from kizy.catalog.index.models import ModelEntry
from kizy.core.errors import EngineError, InputError, ModelFileError, UnknownNameError
from kizy.core.request import GenerationRequest
from kizy.orchestrator.backends.comfyui.protocol.listed_models import entry
from kizy.orchestrator.backends.comfyui.protocol.lora_upload import PACK_NODE
from kizy.orchestrator.backends.comfyui.protocol.model_files import FileStamp
from kizy.orchestrator.backends.comfyui.workflows.server_facts import ServerFacts
from kizy.orchestrator.planning.comfyui_offer import ComfyOffer, Server
from kizy.orchestrator.planning.embedded_offer import EmbeddedOffer
from kizy.orchestrator.planning.server_loras import server_cards
from kizy.orchestrator.settings import Settings
from kizy.orchestrator.shelf import Shelf

from tests.fakes.comfyui import recorded_object_info
from tests.unit.drawing.builders import save_kohya_lora

SDXL, SD15 = "sd_xl_base_1.0.safetensors", "v1-5-pruned-emaonly-fp16.safetensors"
FLUX = "flux1-dev.safetensors"
STARTER = "kizy-starter.safetensors"
GB = 10**9

INPUTS = {
    "checkpoints": ("CheckpointLoaderSimple", "ckpt_name"),
    "diffusion_models": ("UNETLoader", "unet_name"),
    "loras": ("LoraLoader", "lora_name"),
    "upscale_models": ("UpscaleModelLoader", "model_name"),
}


def server(name: str = "studio", *, memory: int | None = 24 * GB, **files: list[str]) -> Server:
    """A server that lists these files and no others: server(checkpoints=[...])."""
    info = copy.deepcopy(dict(recorded_object_info()))
    for kind, (node_class, input_name) in INPUTS.items():
        spec = info[node_class]["input"]["required"][input_name]
        listed = files.get(kind, [])
        # Newer node classes have their choices among the options.
        if isinstance(spec[0], list):
            spec[0] = listed
        else:
            spec[1]["options"] = listed
    return Server(name, ServerFacts(f"http://{name}:8188", "0.3.64", info), memory)


def wish(**values: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": "a fox", **values})


def offer_of(servers: Sequence[Server], preferred: str | None) -> ComfyOffer:
    return ComfyOffer(servers, preferred, Shelf(Settings()))


def model(family_id: str) -> ModelEntry:
    return entry("some.safetensors", family_id)


def model_of(*servers: Server, preferred: str | None = None, **values: Any) -> tuple[str, str]:
    """(name, family) of the model that is taken."""
    entry, why = offer_of(servers, preferred).model(wish(**values))
    assert why
    return entry.name, entry.family or ""


def test_auto_takes_the_best_family_that_fits_into_the_memory() -> None:
    files = [SDXL, SD15, STARTER]
    assert model_of(server(checkpoints=files)) == (SDXL, "sdxl")
    assert model_of(server(checkpoints=files, memory=4 * GB)) == (SD15, "sd15")
    assert model_of(server(checkpoints=files, memory=None)) == ("starter", "starter")


def test_a_model_must_fit_into_the_memory_of_the_server_that_has_it() -> None:
    small = server("small", checkpoints=[SDXL, SD15], memory=4 * GB)
    large = server("large", checkpoints=[STARTER], memory=80 * GB)
    assert model_of(small, large) == (SD15, "sd15")


def test_split_files_count_as_models() -> None:
    assert model_of(server(diffusion_models=[FLUX], memory=48 * GB)) == (FLUX, "flux1-dev")


def test_without_a_model_that_fits_it_says_so() -> None:
    for there in (server(), server(checkpoints=["mix.safetensors"])):
        with pytest.raises(EngineError) as caught:
            model_of(there)
        assert caught.value.code == "server_model_missing"


def test_the_settings_name_beats_the_best_and_the_wish_beats_both() -> None:
    there = server(checkpoints=[SDXL, SD15])
    assert model_of(there, preferred="v1-5-pruned-emaonly-fp16") == (SD15, "sd15")
    assert model_of(there, preferred=SD15, model="sd_xl_base_1.0") == (SDXL, "sdxl")


def test_a_name_that_no_server_lists_gives_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r'Did you mean "sd_xl_base_1\.0"') as caught:
        model_of(server(checkpoints=[SDXL]), model="sd_xl_bas_1.0")
    assert caught.value.code == "model_unknown"


def test_a_family_that_the_name_does_not_tell_is_asked_for_and_can_be_said() -> None:
    there = server(checkpoints=["mix.safetensors"])
    with pytest.raises(InputError) as caught:
        model_of(there, model="mix")
    assert caught.value.code == "family_unknown" and "mix@sdxl" in caught.value.fix
    assert model_of(there, model="mix@sd15") == ("mix.safetensors", "sd15")


def test_an_at_sign_may_be_part_of_a_name() -> None:
    there = server(checkpoints=["sdxl@night.safetensors"])
    assert model_of(there, model="sdxl@night") == ("sdxl@night.safetensors", "sdxl")


def test_the_starter_needs_the_node_pack() -> None:
    assert model_of(server(checkpoints=[STARTER]), model="starter") == ("starter", "starter")
    with pytest.raises(EngineError) as caught:
        model_of(server(checkpoints=[SDXL]), model="starter")
    assert caught.value.code == "server_model_missing" and "ComfyUI-Kizy" in caught.value.fix


def test_a_lora_is_found_on_any_server_by_its_name() -> None:
    first, second = server("first"), server("second", loras=["people/nadia.safetensors"])
    offer = offer_of([first, second], None)
    request = wish(loras=[{"name": "nadia", "model_weight": 0.7}])
    (chosen,) = offer.loras(request, model("sdxl")).loras
    assert chosen.file.name == "people/nadia.safetensors"
    assert (chosen.model_weight, chosen.clip_weight) == (0.7, 0.7)
    assert not offer.loras(wish(), model("sdxl")).loras


def test_a_lora_that_no_server_lists_is_unknown_even_if_it_lies_here(kizy_home: Path) -> None:
    lora(kizy_home, "nadia", context=768)
    offer = offer_of([server(loras=["nadja.safetensors"])], None)
    with pytest.raises(UnknownNameError, match='Did you mean "nadja"') as caught:
        offer.loras(wish(loras=[{"name": "nadia"}]), model("sd15"))
    assert caught.value.code == "lora_unknown"


def lora(home: Path, name: str, *, context: int) -> Path:
    """A LoRA in Kizy's own folder; SD 1.5's context is 768 wide, the starter's 384."""
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    pairs = {module: (torch.zeros(64, 4), torch.zeros(4, context))}
    path = home / "loras" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_kohya_lora(path, pairs, alpha=4.0)


def test_trap_12_a_lora_of_another_family_is_told_where_kizy_has_the_file_too(
    kizy_home: Path,
) -> None:
    lora(kizy_home, "nadia", context=384)
    offer = offer_of([server(loras=["nadia.safetensors"])], None)
    with pytest.raises(ModelFileError, match="for Kizy Starter") as caught:
        offer.loras(wish(loras=[{"name": "nadia"}]), model("sd15"))
    assert caught.value.code == "lora_other_family"


def test_where_kizy_has_the_same_lora_its_hash_goes_into_the_plan(kizy_home: Path) -> None:
    path = lora(kizy_home, "nadia", context=768)
    offer = offer_of([server(loras=["nadia.safetensors"])], None)
    found = offer.loras(wish(loras=[{"name": "nadia"}]), model("sd15"))
    assert found.unhashed == (path,) and found.loras[0].file.sha256 is None
    known, tensors = file_sha256(path), tensors_sha256(path)
    found = offer.loras(wish(loras=[{"name": "nadia"}]), model("sd15"))
    file = found.loras[0].file
    assert found.unhashed == () and (file.sha256, file.tensors_sha256) == (known, tensors)


def with_pack(given: Server, *told: dict[str, Any]) -> Server:
    """The server with Kizy's node pack, which tells these LoRAs."""
    info = {**given.facts.object_info, PACK_NODE: {"input": {}}}
    facts = ServerFacts(given.facts.address, given.facts.version, info)
    return Server(given.name, facts, given.memory, server_cards(told))


def test_a_lora_that_lies_on_a_server_alone_is_picked_by_what_its_pack_tells() -> None:
    told = {
        "file": "styles/ink.safetensors",
        "name": "Ink Wash",
        "family": "sd15",
        "about": "Chinese ink wash painting",
        "triggers": ["inkwsh"],
    }
    offer = offer_of([with_pack(server(loras=["styles/ink.safetensors"]), told)], None)
    (chosen,) = offer.loras(wish(prompt="a heron, ink wash painting"), model("sd15")).loras
    assert chosen.file.name == "styles/ink.safetensors"
    assert chosen.file.path is None
    assert chosen.triggers == ("inkwsh",)
    assert not offer.loras(wish(prompt="a heron, ink wash painting"), model("sdxl")).loras


def test_a_named_lora_of_another_family_on_a_server_alone_is_refused() -> None:
    told = {"file": "ink.safetensors", "name": "Ink Wash", "family": "sdxl"}
    offer = offer_of([with_pack(server(loras=["ink.safetensors"]), told)], None)
    for name in ("ink", "Ink Wash"):
        with pytest.raises(ModelFileError) as caught:
            offer.loras(wish(loras=[{"name": name}]), model("sd15"))
        assert caught.value.code == "lora_other_family"


def test_a_lora_that_lies_here_goes_to_a_server_that_takes_it(kizy_home: Path) -> None:
    path = lora(kizy_home, "nadia", context=768)
    file_sha256(path)
    offer = offer_of([with_pack(server())], None)
    (chosen,) = offer.loras(wish(loras=[{"name": "nadia"}]), model("sd15")).loras
    assert chosen.file.name == "nadia.safetensors"
    assert chosen.file.path == str(path)
    assert chosen.file.sha256 is not None
    (by_path,) = offer.loras(wish(loras=[{"name": str(path)}]), model("sd15")).loras
    assert by_path.file == chosen.file


SAME = ["same.safetensors", "folder/same.safetensors"]


def chosen_name(offer: ComfyOffer, name: str, family_id: str = "sd15") -> str:
    request = wish(loras=[{"name": name}])
    (chosen,) = offer.loras(request, model(family_id)).loras
    return chosen.file.name


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("slash", ["/", "\\"])
def test_each_of_two_files_of_one_name_can_be_reached(
    kizy_home: Path, slash: str, *, here: bool
) -> None:
    listed = [name.replace("/", slash) for name in SAME]
    if here:
        for name in SAME:
            lora(kizy_home, name.removesuffix(".safetensors"), context=768)
    offer = offer_of([server(loras=listed)], None)
    for name in ("same", "same.safetensors"):
        assert chosen_name(offer, name) == listed[0]
    for name in ("folder/same", "folder\\same.safetensors", "FOLDER/same"):
        assert chosen_name(offer, name) == listed[1]


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_each_of_two_models_of_one_name_can_be_reached(slash: str) -> None:
    listed = [f"sdxl{slash}night.safetensors", "night.safetensors"]
    there = server(checkpoints=listed)
    assert model_of(there, model="sdxl/night@sdxl")[0] == listed[0]
    assert model_of(there, model="night@sdxl")[0] == listed[1]


def test_a_name_that_several_files_answer_to_names_them() -> None:
    there = server(loras=["a/dup.safetensors", "b\\dup.safetensors"])
    with pytest.raises(InputError, match="a/dup, b/dup") as caught:
        chosen_name(offer_of([there], None), "dup")
    assert caught.value.code == "name_ambiguous"
    there = server(checkpoints=["a/sdxl.safetensors", "b/sdxl.safetensors"])
    with pytest.raises(InputError, match="a/sdxl") as caught:
        model_of(there, model="sdxl")
    assert caught.value.code == "name_ambiguous"


def test_a_files_name_goes_before_the_title_of_another_one() -> None:
    told = (
        {"file": "alpha.safetensors", "name": "zeta", "family": "sd15"},
        {"file": "zeta.safetensors", "name": "Beta", "family": "sd15"},
    )
    there = with_pack(server(loras=[one["file"] for one in told]), *told)
    for name in ("zeta", "zeta.safetensors", "beta"):
        assert chosen_name(offer_of([there], None), name) == "zeta.safetensors"


def test_the_final_file_of_a_server_goes_before_its_epochs() -> None:
    told = [
        {
            "file": f"mystyle{end}.safetensors",
            "name": "mystyle",
            "family": "sd15",
            "about": "gouache landscapes",
            "triggers": ["mystyle gouache"],
        }
        for end in ("-000010", "-000020", "")
    ]
    offer = offer_of([with_pack(server(loras=[str(one["file"]) for one in told]), *told)], None)
    (picked,) = offer.loras(wish(prompt="a valley, mystyle gouache"), model("sd15")).loras
    assert picked.file.name == "mystyle.safetensors"
    assert chosen_name(offer, "mystyle") == "mystyle.safetensors"
    assert chosen_name(offer, "mystyle-000010") == "mystyle-000010.safetensors"


def test_a_file_of_another_size_on_a_server_is_another_file(kizy_home: Path) -> None:
    path = lora(kizy_home, "nadia", context=768)
    known = file_sha256(path)

    def drawn(size: int) -> str | None:
        stamps = {"loras": {"nadia.safetensors": FileStamp(size, 1.0, 1.0)}}
        there = replace(server(loras=["nadia.safetensors"]), files=stamps)
        request = wish(loras=[{"name": "nadia"}])
        (chosen,) = offer_of([there], None).loras(request, model("sd15")).loras
        assert chosen.file.name == "nadia.safetensors"
        return chosen.file.sha256

    assert drawn(path.stat().st_size) == known
    assert drawn(path.stat().st_size + 1) is None


def test_what_is_sent_never_takes_the_place_of_another_file_of_its_name(kizy_home: Path) -> None:
    path = lora(kizy_home, "folder/same", context=768)
    other = {"loras": {"same.safetensors": FileStamp(1, 1.0, 1.0)}}
    there = replace(with_pack(server(loras=["same.safetensors"])), files=other)
    offer = offer_of([there], None)
    (chosen,) = offer.loras(wish(loras=[{"name": "folder/same"}]), model("sd15")).loras
    assert chosen.file.path == str(path)
    assert chosen.file.name.startswith("same-") and chosen.file.name.endswith(".safetensors")
    assert chosen_name(offer, "same") == "same.safetensors"


def test_a_path_is_sent_and_stays_with_its_request(kizy_home: Path, tmp_path: Path) -> None:
    path = lora(tmp_path / "elsewhere", "gouache", context=768)
    offer = offer_of([with_pack(server())], None)
    (chosen,) = offer.loras(wish(loras=[{"name": str(path)}]), model("sd15")).loras
    assert chosen.file.path == str(path)
    assert not offer.loras(wish(prompt="a gouache"), model("sd15")).loras
    with pytest.raises(UnknownNameError):
        chosen_name(offer, "gouache")


def test_a_servers_cards_are_nothing_to_the_embedded_engine(kizy_home: Path) -> None:
    shelf = Shelf(Settings())
    told = {"file": "ink.safetensors", "name": "Ink Wash", "family": "sd15", "about": "ink wash"}
    there = with_pack(server(loras=["ink.safetensors"]), told)
    request = wish(prompt="a heron, ink wash painting")
    assert ComfyOffer([there], None, shelf).loras(request, model("sd15")).loras
    assert not EmbeddedOffer(None, "here", shelf).loras(request, model("sd15")).loras
    assert shelf.library().cards == ()


def test_what_a_server_tells_wrongly_is_passed_over() -> None:
    told = [{"file": 3}, {"file": "a", "name": None}, {"file": "b", "name": "B", "family": "sd99"}]
    (card,) = server_cards(told)
    assert (card.key, card.family, card.source) == ("server:b", None, "server")


def test_the_enlarger_is_kizys_own_or_one_that_enlarges_four_times() -> None:
    def enlarger(*listed: str) -> str | None:
        facts = offer_of([server(upscale_models=list(listed))], None).engine(
            family("sdxl"), model("sdxl")
        )
        return facts.enlarger.name if facts.enlarger is not None else None

    assert enlarger("4x-UltraSharp.pth", "kizy-enlarger-x4.safetensors") == "starter-enlarger-x4"
    assert enlarger("2x-small.pth", "4x-UltraSharp.pth") == "4x-UltraSharp.pth"
    assert enlarger("2x-small.pth") is None
    assert enlarger() is None


def test_samplers_are_those_of_all_servers() -> None:
    first, second = server("first"), server("second", checkpoints=[SDXL])
    own = second.facts.object_info["KSampler"]["input"]["required"]["sampler_name"][0]
    own.append("of_a_pack")
    listed = (
        ComfyOffer([first, second], None, Shelf(Settings()))
        .engine(family("sdxl"), model("sdxl"))
        .samplers
    )
    assert "of_a_pack" in listed and "euler" in listed
    assert len(set(listed)) == len(listed)


def test_the_enlarger_is_one_of_a_server_that_has_the_family() -> None:
    first = server("first", upscale_models=["4x-first.pth"])
    second = server("second", checkpoints=[SDXL], upscale_models=["4x-second.pth"])
    found = (
        ComfyOffer([first, second], None, Shelf(Settings()))
        .engine(family("sdxl"), model("sdxl"))
        .enlarger
    )
    assert found is not None and found.name == "4x-second.pth"


def test_a_24_gib_card_draws_with_flux_and_a_12_gib_card_with_its_8_bit_file() -> None:
    gib = 2**30
    whole, small = "flux1-dev.safetensors", "flux1-dev-fp8.safetensors"
    there = server(diffusion_models=[whole], checkpoints=[SDXL], memory=24 * gib)
    assert model_of(there) == (whole, "flux1-dev")
    files = {"diffusion_models": [whole], "checkpoints": [SD15, small]}
    assert model_of(server(memory=12 * gib, **files)) == (small, "flux1-dev")
    assert model_of(server(memory=8 * gib, **files)) == (SD15, "sd15")


def test_a_model_that_changes_pictures_is_taken_for_text_only_if_it_is_named() -> None:
    kontext = "flux1-dev-kontext_fp8_scaled.safetensors"
    there = server(diffusion_models=[kontext], checkpoints=[SD15])
    assert model_of(there) == (SD15, "sd15")
    assert model_of(there, model="flux1-dev-kontext_fp8_scaled")[1] == "flux1-kontext"


def test_the_engine_says_on_which_servers() -> None:
    facts = offer_of([server("one"), server("two")], None).engine(family("sdxl"), model("sdxl"))
    assert (facts.kind, facts.why) == ("comfyui", "on one, two")
    assert "euler" in facts.samplers
