"""From a request to the LoRAs that it is drawn with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kizy.catalog.card import Card
from kizy.catalog.index.hashes import file_sha256
from kizy.catalog.index.models import ModelEntry
from kizy.core.errors import InputError, ModelFileError, UnknownNameError
from kizy.core.picture_files import parameters_text
from kizy.core.request import GenerationRequest, LoraChoice
from kizy.orchestrator.app import App
from kizy.orchestrator.planning import lora_fit
from kizy.orchestrator.planning.loras import Reach, choose, may_pick, named_in
from kizy.orchestrator.planning.planner import LoraChoices
from kizy.orchestrator.planning.resolve import resolve, without_tags
from kizy.orchestrator.planning.server_loras import keys_on
from kizy.orchestrator.settings import Settings
from kizy.orchestrator.shelf import Shelf
from safetensors.torch import load_file, save_file

STARTER = ModelEntry(
    name="starter", family="starter", path=None, kind="builtin", size=0, drawable_here=True
)


def wish(prompt: str = "a fox", **values: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": prompt, **values})


def lora(folder: Path, name: str, *, context: int = 384, **metadata: str) -> Path:
    """A LoRA of the starter, or of SD 1.5 with a context of 768."""
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {
        f"{module}.lora_up.weight": torch.zeros(64, 4),
        f"{module}.lora_down.weight": torch.zeros(4, context),
        f"{module}.alpha": torch.tensor(4.0),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    save_file(tensors, path, metadata)
    return path


@pytest.fixture
def crayon(kizy_home: Path) -> Path:
    about = {
        "modelspec.title": "Crayon",
        "modelspec.description": "Looks as if a child drew it with wax crayons.",
        "modelspec.trigger_phrase": "crayon style",
        "modelspec.tags": "style, crayon",
    }
    path = lora(kizy_home / "loras", "crayon", **about)
    file_sha256(path)
    return path


def chosen(request: GenerationRequest, **more: Any) -> LoraChoices:
    return choose(request, STARTER, Shelf(Settings()), more.pop("reach", Reach()), **more)


def test_a_lora_that_the_words_ask_for_is_picked_with_its_trigger(crayon: Path) -> None:
    (picked,) = chosen(wish("a fox drawn with crayons")).loras
    assert picked.file.path == str(crayon) and picked.file.sha256
    assert picked.triggers == ("crayon style",) and picked.is_style
    assert "crayon" in picked.why.casefold()


def test_where_nothing_fits_it_says_why(crayon: Path) -> None:
    found = chosen(wish("a slice of pizza"))
    assert not found.loras and found.why_none


def test_without_any_lora_nothing_is_said(kizy_home: Path) -> None:
    assert chosen(wish()) == LoraChoices()


def test_none_means_none(crayon: Path) -> None:
    assert chosen(wish("a fox drawn with crayons", loras="none")) == LoraChoices()


def test_a_named_lora_is_taken_as_it_is_named_and_no_other(crayon: Path, kizy_home: Path) -> None:
    lora(kizy_home / "loras", "mimi", **{"modelspec.trigger_phrase": "mimi cat"})
    request = wish("a fox drawn with crayons", loras=[{"name": "MIMI", "model_weight": 0.5}])
    (picked,) = chosen(request).loras
    assert (picked.file.name, picked.model_weight, picked.clip_weight) == ("mimi", 0.5, 0.5)


def test_auto_beside_names_lets_kizy_pick_more(crayon: Path, kizy_home: Path) -> None:
    lora(kizy_home / "loras", "mimi", **{"modelspec.trigger_phrase": "mimi cat"})
    request = wish("a fox drawn with crayons", loras=[{"name": "mimi"}, {"name": "auto"}])
    assert [picked.file.name for picked in chosen(request).loras] == ["mimi", "crayon"]


def test_a_path_outside_of_all_folders_can_be_named(kizy_home: Path, tmp_path: Path) -> None:
    path = lora(tmp_path / "elsewhere", "mine")
    (picked,) = chosen(wish(loras=[{"name": str(path)}])).loras
    assert picked.file.path == str(path)


@pytest.mark.parametrize("name", ["nothing", "crayom"])
def test_an_unknown_name_is_refused(crayon: Path, name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        chosen(wish(loras=[{"name": name}]))
    assert caught.value.code == "lora_unknown"


def test_a_lora_of_another_family_is_refused(kizy_home: Path) -> None:
    lora(kizy_home / "loras", "ink", context=768)
    with pytest.raises(ModelFileError) as caught:
        chosen(wish(loras=[{"name": "ink"}]))
    assert caught.value.code == "lora_other_family"


def test_a_broken_lora_is_refused(kizy_home: Path) -> None:
    path = lora(kizy_home / "loras", "half")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError) as caught:
        chosen(wish(loras=[{"name": "half"}]))
    assert caught.value.code == "model_file_damaged"


def test_what_the_engine_cannot_reach_is_not_picked(crayon: Path) -> None:
    reach = Reach(names={}, others={})
    assert not chosen(wish("a fox drawn with crayons"), reach=reach).loras


def test_on_a_server_a_lora_has_the_servers_name(crayon: Path) -> None:
    reach = Reach(names={str(crayon): "styles/crayon.safetensors"}, others={})
    (picked,) = chosen(wish("a fox drawn with crayons"), reach=reach).loras
    assert (picked.file.name, picked.file.path) == ("styles/crayon.safetensors", None)


def test_a_lora_that_only_the_server_knows_is_taken_by_name(kizy_home: Path) -> None:
    reach = Reach(names={}, others={"ink": "ink.safetensors"})
    (picked,) = chosen(wish(loras=[{"name": "ink"}]), reach=reach).loras
    assert picked.file.name == "ink.safetensors" and "server" in picked.why


def test_a_style_that_was_named_asks_for_a_lora_too(crayon: Path) -> None:
    assert not chosen(wish()).loras
    assert chosen(wish(), style="wax crayon drawing").loras


def test_a_files_place_on_a_server_is_told_by_the_end_of_its_path() -> None:
    cards = [Card(key=f"/a/{name}", name="x") for name in ("one/ink.safetensors", "y.safetensors")]
    listed = ["two/ink.safetensors", "one\\ink.safetensors", "sub/Y.safetensors"]
    assert keys_on(listed, cards) == {
        "/a/one/ink.safetensors": "one\\ink.safetensors",
        "/a/y.safetensors": "sub/Y.safetensors",
    }


def test_of_two_files_of_one_name_neither_is_guessed() -> None:
    cards = [Card(key="/a/ink.safetensors", name="ink")]
    assert keys_on(["one/ink.safetensors", "two/ink.safetensors"], cards) == {}


def test_a_lora_written_into_the_prompt_is_named() -> None:
    resolved = without_tags(wish("a fox, <lora:ink wash:0.8>, <lora:sub/x:1:0.5> at night"))
    request = resolved.request
    assert request.prompt == "a fox, at night"
    assert named_in(request) == (
        LoraChoice(name="ink wash", model_weight=0.8),
        LoraChoice(name="sub/x", model_weight=1.0, clip_weight=0.5),
    )
    assert may_pick(request)


def test_a_prompt_of_nothing_but_loras_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        without_tags(wish("<lora:ink:1>"))
    assert caught.value.code == "prompt_empty"


def test_tags_outside_the_prompt_name_nothing_and_that_is_told() -> None:
    part = {"what": "faces", "prompts": ["<lora:ink:1>, a smile", "<lora:ink:1>"]}
    resolved = without_tags(wish("a fox", negative="blurry <lora:bad:1>", improve=[part]))
    assert resolved.request.negative == "blurry"
    assert resolved.request.improve[0].prompts == ("a smile", "")
    assert named_in(resolved.request) == ()
    assert [note.partition(" count")[0] for note in resolved.notices] == [
        "LoRAs in the negative prompt",
        "LoRAs in the line of a part",
    ]


def test_what_is_told_of_a_tag_is_a_reason_of_the_plan(crayon: Path) -> None:
    app = App(settings=Settings(engine="embedded"))
    plan = app.plan(wish("a fox <lora:crayon:0.8:lbw=OUTALL>"))
    assert plan.loras[0].model_weight == 0.8
    assert any("lbw" in one.why for one in plan.reasons if one.value == "note")


def test_a_lora_that_is_named_and_tagged_is_drawn_with_once_at_both_weights(crayon: Path) -> None:
    app = App(settings=Settings(engine="embedded"))
    named = [{"name": "crayon", "model_weight": "0,5"}]
    plan = app.plan(wish("a fox <lora:Crayon:0.25>", loras=named))
    assert [(one.model_weight, one.clip_weight) for one in plan.loras] == [(0.75, 0.75)]
    assert "the weights add up" in next(r.why for r in plan.reasons if r.choice == "lora")


def test_a_style_lora_takes_the_place_of_the_starters_usual_style(crayon: Path) -> None:
    app = App(settings=Settings(engine="embedded"))
    plain, drawn = app.plan(wish("a pizza")), app.plan(wish("a fox drawn with crayons"))
    assert plain.prompt.endswith("3d render") and plain.style == "3d"
    assert drawn.prompt == "a fox drawn with crayons, crayon style" and drawn.style is None
    assert drawn.loras[0].file.name == "crayon"


HARD = ("same", "folder/same", "A/dup", "B/dup", "blank ", "a:b<c>", "v1.5", "auto", "名前", "x;y")


def test_the_tag_that_is_written_into_a_picture_names_the_same_file_again(kizy_home: Path) -> None:
    app = App(settings=Settings(engine="embedded"))
    for name in HARD:
        folder, _, file = name.rpartition("/")
        lora(kizy_home / "loras" / folder, file, **{"modelspec.title": "One Title"})
    for card in app.shelf.library(fresh=True).cards:
        shown = app.shelf.library().name_of(card)
        plan = app.plan(resolve(wish(loras=[{"name": shown}]), files=False).request)
        assert [one.file.path for one in plan.loras] == [card.key]
        prompt = parameters_text(plan, (8, 8), "1").splitlines()[0]
        again = app.plan(resolve(wish(prompt, loras="none"), files=False).request)
        assert [one.file.path for one in again.loras] == [card.key]


KEY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
ABOUT = {
    "modelspec.title": "Crayon",
    "modelspec.description": "Looks as if a child drew it with wax crayons.",
    "modelspec.trigger_phrase": "crayon style",
    "modelspec.tags": "style, crayon",
}


def written(folder: Path, prefix: str, ends: tuple[str, str], **more: torch.Tensor) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "crayon.safetensors"
    pair = {prefix + ends[0]: torch.zeros(4, 384), prefix + ends[1]: torch.zeros(64, 4)}
    save_file(pair | {prefix + end: tensor for end, tensor in more.items()}, path, ABOUT)
    return path


def in_pefts_names(folder: Path) -> Path:
    return written(folder, f"base_model.model.{KEY}", (".lora_A.weight", ".lora_B.weight"))


def on_server(path: Path, *, receiving: bool) -> Reach:
    return Reach({str(path): "crayon.safetensors"}, receiving=receiving)


def test_what_comfyui_cannot_read_goes_there_converted(kizy_home: Path) -> None:
    path = in_pefts_names(kizy_home / "loras")
    (one,) = chosen(wish("a fox drawn with crayons"), reach=on_server(path, receiving=True)).loras
    assert one.file.path == str(path)


def test_what_comfyui_cannot_read_and_cannot_be_sent_is_not_picked_and_told(
    kizy_home: Path,
) -> None:
    path = in_pefts_names(kizy_home / "loras")
    reach = on_server(path, receiving=False)
    found = chosen(wish("a fox drawn with crayons"), reach=reach)
    assert found.loras == ()
    assert "reads 0 of the 1 layers" in found.notices[-1]
    with pytest.raises(ModelFileError) as caught:
        chosen(wish(loras=[{"name": "crayon"}]), reach=reach)
    assert caught.value.code == "lora_form_unknown"


def test_a_dora_is_not_picked_for_the_embedded_engine_and_refused_by_name(kizy_home: Path) -> None:
    module = "lora_unet_" + KEY.replace(".", "_")
    ends = ".lora_down.weight", ".lora_up.weight"
    more = {".dora_scale": torch.ones(1, 384)}
    path = written(kizy_home / "loras", module, ends, **more)
    found = chosen(wish("a fox drawn with crayons"))
    assert found.loras == ()
    assert "DoRA" in found.notices[-1]
    with pytest.raises(ModelFileError) as caught:
        chosen(wish(loras=[{"name": "crayon"}]))
    assert caught.value.code == "lora_form_unknown"
    (one,) = chosen(wish(loras=[{"name": "crayon"}]), reach=on_server(path, receiving=False)).loras
    assert one.file.name == "crayon.safetensors"


def test_a_lora_of_which_much_has_no_place_is_told(kizy_home: Path) -> None:
    path = lora(kizy_home / "loras", "crayon")
    tensors = load_file(path)
    for at in range(2):
        block = f"lora_unet_strange_{at}"
        tensors[f"{block}.lora_down.weight"] = torch.zeros(4, 8)
        tensors[f"{block}.lora_up.weight"] = torch.zeros(8, 4)
    for part in ("to_q", "to_v", "to_out_0"):
        module = f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_{part}"
        tensors[f"{module}.lora_down.weight"] = torch.zeros(4, 64)
        tensors[f"{module}.lora_up.weight"] = torch.zeros(64, 4)
    fit = lora_fit.embedded(_saved(path, tensors), "starter")
    assert fit.note == "Only 4 of its 6 layers have a place in Kizy Starter."
    assert lora_fit.on_comfyui(path, "starter", receiving=False).note == fit.note


def _saved(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, path)
    return path
