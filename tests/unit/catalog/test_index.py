"""The index: what is found in folders, and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kizy.catalog.formats.published_facts import Facts
from kizy.catalog.index.folders import LoraFolder
from kizy.catalog.index.lora_index import FileRecord, Index
from kizy.catalog.index.scan import ScanProgress

MODULE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
SD15 = {f"{MODULE}.lora_down.weight": (8, 768), f"{MODULE}.lora_up.weight": (320, 8)}
XL = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
SDXL = {f"{XL}.lora_down.weight": (4, 2048), f"{XL}.lora_up.weight": (640, 4)}
OLD = 1_600_000_000

Build = Callable[..., Path]


class Library:
    """A folder of LoRAs and its index."""

    def __init__(self, folder: Path, write: Build) -> None:
        self.folder, self._write = folder / "loras", write
        self.folder.mkdir()
        self.index = Index(folder / "catalog.sqlite")

    def add(self, name: str, shapes: Any = SD15, **metadata: str) -> Path:
        path = self._write(self.folder / name, shapes, metadata or None)
        os.utime(path, (OLD, OLD))
        return path

    def scan(self, **more: Any):
        return self.index.scan([LoraFolder(self.folder)], **more)

    def records(self) -> dict[str, FileRecord]:
        self.scan()
        return {record.path.name: record for record in self.index.files()}


@pytest.fixture
def library(tmp_path: Path, write_tensors: Build) -> Library:
    return Library(tmp_path, write_tensors)


def embed(texts: Sequence[str]) -> np.ndarray:
    """Made-up meanings: a different unit vector for each length of text."""
    vectors = np.zeros((len(texts), 384), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        row[len(text) % 384] = 1
    return vectors


def test_a_scan_finds_files_in_folders_below(library: Library) -> None:
    library.add("ink.safetensors")
    library.add("people/mia.safetensors", SDXL)
    report = library.scan()
    assert (report.found, report.read, report.broken) == (2, 2, 0)
    cards = {card.name: card for card in library.index.cards()}
    assert (cards["ink"].family, cards["mia"].family) == ("sd15", "sdxl")
    assert (cards["ink"].folder, cards["mia"].folder) == ("", "people")
    assert [card.name for card in library.index.cards(family="sdxl")] == ["mia"]


def test_a_second_scan_opens_only_what_changed(library: Library) -> None:
    library.add("a.safetensors")
    library.add("b.safetensors")
    library.scan()
    assert library.scan().read == 0
    library.add("b.safetensors", SDXL)
    library.add("c.safetensors")
    report = library.scan()
    assert (report.found, report.read) == (3, 2)
    assert library.records()["b.safetensors"].card.family == "sdxl"


def test_a_file_that_is_gone_is_forgotten(library: Library) -> None:
    library.add("a.safetensors").unlink()
    library.add("b.safetensors")
    library.scan()
    (library.folder / "b.safetensors").unlink()
    assert library.scan().removed == 1
    assert library.index.cards() == []


def test_folders_that_are_no_longer_named_are_forgotten(library: Library) -> None:
    library.add("a.safetensors")
    library.scan()
    library.index.scan([])
    assert library.index.files() == []


def test_the_same_record_tells_rank_alpha_and_text_encoder(library: Library) -> None:
    library.add("a.safetensors", ss_network_alpha="4.0")
    record = library.records()["a.safetensors"]
    assert (record.rank, record.alpha, record.text_encoder) == (8, 4.0, False)
    assert (record.health, record.form, record.sha256) == ("ok", "lora", None)


def test_a_changed_sidecar_changes_the_card(library: Library) -> None:
    library.add("a.safetensors")
    library.scan()
    (library.folder / "a.json").write_text('{"activation text": "inkstyle"}')
    assert library.scan().read == 1
    (card,) = library.index.cards()
    assert (card.triggers, card.source) == (("inkstyle",), "sidecar")


# What cannot be used is listed, with plain words.


def problem(library: Library, name: str) -> tuple[str, str]:
    record = library.records()[name]
    return record.health, record.card.problem or ""


def test_a_file_that_is_cut_short_is_damaged(library: Library) -> None:
    path = library.add("a.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    os.utime(path, (OLD, OLD))
    health, words = problem(library, "a.safetensors")
    assert health == "damaged"
    assert "5 bytes are missing" in words


def test_a_file_that_is_still_being_copied_is_growing_and_then_well(library: Library) -> None:
    path = library.add("a.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert problem(library, "a.safetensors")[0] == "growing"
    path.write_bytes(whole)
    assert problem(library, "a.safetensors") == ("ok", "")


def test_room_that_is_kept_for_a_download_is_growing(library: Library) -> None:
    (library.folder / "a.safetensors").write_bytes(bytes(5000))
    assert problem(library, "a.safetensors")[0] == "growing"


def test_an_empty_file_is_empty(library: Library) -> None:
    (library.folder / "a.safetensors").write_bytes(b"")
    assert problem(library, "a.safetensors")[0] == "empty"


@pytest.mark.parametrize(("name", "data"), [("a.pt", b""), ("a.safetensors", b"PK\x03\x04" * 20)])
def test_a_pickle_is_never_opened(library: Library, name: str, data: bytes) -> None:
    (library.folder / name).write_bytes(data or b"\x80\x02}")
    health, words = problem(library, name)
    assert health == "pickled"
    assert "safetensors" in words


def test_a_web_page_is_told(library: Library) -> None:
    (library.folder / "a.safetensors").write_bytes(b"<!DOCTYPE html><html>Sign in</html>")
    assert "web page" in problem(library, "a.safetensors")[1]


def test_a_checkpoint_among_loras_is_told(library: Library) -> None:
    root = "model.diffusion_model."
    shapes = {
        f"{root}input_blocks.0.0.weight": (320, 4, 3, 3),
        f"{root}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    }
    library.add("a.safetensors", shapes)
    health, words = problem(library, "a.safetensors")
    assert health == "no_lora"
    assert "a whole model (Stable Diffusion 1.5)" in words and "checkpoints" in words


def test_a_controlnet_among_loras_is_told(library: Library) -> None:
    library.add("a.safetensors", {"control_model.input_hint_block.0.weight": (16, 3, 3, 3)})
    assert "a ControlNet" in problem(library, "a.safetensors")[1]


def test_a_dangling_link_and_a_loop_are_listed(library: Library) -> None:
    (library.folder / "gone.safetensors").symlink_to(library.folder / "nothing")
    (library.folder / "self.safetensors").symlink_to("self.safetensors")
    assert {record.health for record in library.records().values()} == {"dangling"}


def test_loops_of_folders_end(library: Library) -> None:
    library.add("deep/a.safetensors")
    (library.folder / "deep" / "again").symlink_to(library.folder)
    (library.folder / "deep" / "up").symlink_to(library.folder.parent)
    assert library.scan().found == 1


def test_a_linked_file_is_listed_once(library: Library, tmp_path: Path, write_tensors) -> None:
    path = write_tensors(tmp_path / "elsewhere" / "ink.safetensors", SD15)
    (library.folder / "ink.safetensors").symlink_to(path)
    library.add("mia.safetensors")
    (library.folder / "again.safetensors").symlink_to(library.folder / "mia.safetensors")
    assert set(library.records()) == {"ink.safetensors", "mia.safetensors"}


def test_a_name_that_is_no_unicode_is_listed(library: Library) -> None:
    try:
        library.add(os.fsdecode(b"caf\xe9.safetensors"))
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    (record,) = library.records().values()
    assert (record.health, record.card.name) == ("ok", "caf?")
    assert record.path.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_listed(library: Library) -> None:
    library.add("a.safetensors").chmod(0)
    assert problem(library, "a.safetensors")[0] == "unreadable"


def test_a_missing_folder_is_no_trouble(library: Library) -> None:
    report = library.index.scan([LoraFolder(library.folder / "nowhere")])
    assert (report.found, report.notes) == (0, ())


# Contents


def facts(title: str = "Ink Wash") -> Facts:
    return Facts(title=title, triggers=("inkstyle",), base_model="Pony", weight=0.7)


def test_facts_come_into_the_card_by_sha256(library: Library) -> None:
    path = library.add("a.safetensors", SDXL)
    library.scan()
    assert library.index.compute_hashes() == 1
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert library.index.files()[0].sha256 == sha256
    library.index.put_facts(sha256, facts())
    (card,) = library.index.cards()
    assert (card.name, card.triggers, card.weight) == ("Ink Wash", ("inkstyle",), 0.7)
    assert (card.family, card.variant, card.source) == ("sdxl", "pony", "civitai")


@pytest.mark.parametrize("move", [shutil.move, shutil.copyfile])
def test_a_file_that_was_moved_or_copied_keeps_its_facts(library: Library, move: Any) -> None:
    path = library.add("a.safetensors", SDXL)
    library.scan()
    library.index.compute_hashes()
    library.index.put_facts(library.index.files()[0].sha256 or "", facts())
    (library.folder / "new").mkdir()
    move(path, library.folder / "new" / "b.safetensors")
    record = library.records()["b.safetensors"]
    assert record.sha256 is not None
    assert record.card.name == "Ink Wash"
    assert library.index.compute_hashes() == 0


def test_another_content_of_the_same_shape_keeps_no_facts(library: Library) -> None:
    path = library.add("a.safetensors", SDXL)
    library.scan()
    library.index.compute_hashes()
    data = bytearray(path.read_bytes())
    data[-100] = 7
    (library.folder / "b.safetensors").write_bytes(data)
    assert library.records()["b.safetensors"].sha256 is None


def test_civitais_word_does_not_override_the_tensors(library: Library) -> None:
    library.add("a.safetensors", SD15)
    library.scan()
    library.index.compute_hashes()
    library.index.put_facts(library.index.files()[0].sha256 or "", facts())
    assert (library.index.cards()[0].family, library.index.cards()[0].variant) == ("sd15", None)


def test_civitais_word_decides_where_the_tensors_say_nothing(library: Library) -> None:
    text = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    library.add("a.safetensors", {f"{text}.lora_down.weight": (8, 768)})
    (library.folder / "a.civitai.info").write_text('{"id": 3, "baseModel": "SD 1.5"}')
    assert library.records()["a.safetensors"].card.family == "sd15"


def test_hashing_can_be_stopped(library: Library) -> None:
    library.add("a.safetensors")
    library.scan()
    assert library.index.compute_hashes(cancelled=lambda: True) == 0


# Meanings


def test_meanings_are_kept_until_the_text_changes(library: Library) -> None:
    library.add("watercolor fox.safetensors")
    library.scan()
    assert len(library.index.meanings()) == 0
    assert library.index.compute_meanings(embed=embed) > 0
    first = library.index.meanings()
    assert first.vectors.dtype == np.float16
    assert first.vectors.shape == (len(first.keys), 384)
    assert set(first.keys) == {library.index.cards()[0].key}
    assert library.index.compute_meanings(embed=embed) == 0
    (library.folder / "watercolor fox.json").write_text('{"description": "a fox, painted"}')
    library.scan()
    assert len(library.index.meanings()) == 0
    assert library.index.compute_meanings(embed=embed) > 0
    assert len(library.index.meanings()) > 0


def test_meanings_are_computed_a_few_at_a_time(library: Library) -> None:
    for name in ("red apple", "blue whale", "old castle"):
        library.add(f"{name}.safetensors")
    library.scan()
    assert library.index.compute_meanings(limit=1, embed=embed) == 1
    assert len(library.index.meanings()) == 1
    assert library.index.compute_meanings(embed=embed, cancelled=lambda: True) == 0
    library.index.compute_meanings(embed=embed)
    assert len(set(library.index.meanings().keys)) == 3


def test_a_file_that_is_opened_again_keeps_its_meaning(library: Library) -> None:
    path = library.add("red apple.safetensors")
    library.scan()
    library.index.compute_meanings(embed=embed)
    os.utime(path, (OLD + 5, OLD + 5))
    library.scan()
    assert library.index.compute_meanings(embed=embed) == 0
    assert len(library.index.meanings()) > 0


# The file itself


def test_the_index_can_be_deleted_while_it_is_used(library: Library) -> None:
    library.add("a.safetensors")
    library.scan()
    for file in library.index.path.parent.glob("catalog.sqlite*"):
        file.unlink()
    assert library.index.cards() == []
    assert library.scan().read == 1


@pytest.mark.parametrize(
    "damage", [b"", b"no database" * 400, b"SQLite format 3\0" + b"\xff" * 9000]
)
def test_a_damaged_index_is_made_anew_with_a_note(
    library: Library, damage: bytes
) -> None:  # fmt: skip
    library.add("a.safetensors")
    library.scan()
    for file in library.index.path.parent.glob("catalog.sqlite-*"):
        file.unlink()
    library.index.path.write_bytes(damage)
    index = Index(library.index.path)
    report = index.scan([LoraFolder(library.folder)])
    assert (report.found, report.read) == (1, 1)
    assert ("damaged" in " ".join(report.notes)) == (damage != b"")


def test_tables_of_another_kizy_are_made_anew(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "c.sqlite")) as db:
        db.execute("CREATE TABLE files (path TEXT, colour TEXT)")
        db.commit()
    assert Index(tmp_path / "c.sqlite").cards() == []


def test_progress_counts_up_to_the_end(library: Library) -> None:
    for at in range(5):
        library.add(f"{at}.safetensors")
    seen: list[ScanProgress] = []
    library.scan(progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (5, 5)


def test_a_scan_that_is_stopped_goes_on_where_it_was(library: Library) -> None:
    for at in range(80):
        library.add(f"{at:03}.safetensors")
    asked = iter([False, True])
    report = library.scan(cancelled=lambda: next(asked, True))
    assert report.cancelled
    assert 0 < report.read < 80
    assert library.scan().read == 80 - report.read


def test_the_default_is_kizys_own_folder(home: Path, write_tensors: Build) -> None:
    write_tensors(home / "loras" / "a.safetensors", SD15)
    index = Index()
    assert index.scan().found == 1
    assert index.path == home / "catalog.sqlite"


def test_two_indexes_may_scan_the_same_file_at_once(library: Library) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for at in range(40):
        library.add(f"{at}.safetensors")
    folders = [LoraFolder(library.folder)]
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: Index(library.index.path).scan(folders), range(4)))
    assert {report.found for report in reports} == {40}
    assert len(library.index.cards()) == 40


def test_what_a_lora_was_made_for_is_kept_and_civitai_may_tell(library: Library) -> None:
    wan = {"diffusion_model.blocks.0.self_attn.q.lora_A.weight": (8, 5120)}
    attention = {
        f"transformer.transformer_blocks.{i}.attn.to_q.lora_A.weight": (8, 3072) for i in range(19)
    } | {
        f"transformer.single_transformer_blocks.{i}.attn.to_q.lora_A.weight": (8, 3072)
        for i in range(38)
    }
    library.add("wan.safetensors", wan)
    library.add("open.safetensors", attention)
    found = library.records()
    told = {name: (record.card.family, record.made_for) for name, record in found.items()}
    assert told == {"wan.safetensors": (None, "Wan"), "open.safetensors": ("flux1-dev", None)}
    (library.folder / "open.civitai.info").write_text('{"id": 5, "baseModel": "Chroma"}')
    record = library.records()["open.safetensors"]
    assert (record.card.family, record.made_for) == (None, "Chroma")


def test_a_sidecar_of_wild_numbers_ends_no_scan(library: Library) -> None:
    library.add("a.safetensors")
    wild = f'{{"strengthMin": {"9" * 400}, "preferred weight": 1e999, "id": -1}}'
    for name in ("a.json", "a.safetensors.rgthree-info.json", "a.civitai.info"):
        (library.folder / name).write_text(wild)
    assert library.records()["a.safetensors"].health == "ok"


def test_folders_beyond_the_last_level_are_told_with_the_first(library: Library) -> None:
    deep = library.folder.joinpath(*(str(level) for level in range(17)))
    deep.mkdir(parents=True)
    library.add("a.safetensors")
    shutil.copy(library.folder / "a.safetensors", deep.parent.parent / "seen.safetensors")
    shutil.copy(library.folder / "a.safetensors", deep / "never.safetensors")
    report = library.scan()
    assert report.found == 2
    assert report.notes == (
        f"1 folder deeper than 16 levels was not looked through ({deep.parent}).",
    )


def test_a_link_to_a_folder_that_is_gone_is_told(library: Library) -> None:
    library.add("a.safetensors")
    for name in ("b", "a"):
        (library.folder / name).symlink_to(library.folder.parent / "unplugged")
    report = library.scan()
    first = library.folder / "a"
    assert report.notes == (f"2 links lead to nothing that is there (the first: {first}).",)


def test_links_back_and_forth_are_no_depth(library: Library) -> None:
    library.add("a.safetensors")
    (library.folder / "again").symlink_to(library.folder)
    assert library.scan().notes == ()
