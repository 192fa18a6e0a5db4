"""The shelf: the folders of the settings, the choice with its defaults, the background work."""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kizy.catalog.index.lora_index import Index
from kizy.catalog.search.search_index import Scope
from kizy.catalog.search.select import Named
from kizy.orchestrator import shelf as module
from kizy.orchestrator import shelf_worker
from kizy.orchestrator.backends.comfyui.launcher.server_records import OwnerLock
from kizy.orchestrator.settings import LorasSettings, Settings
from kizy.orchestrator.shelf import (
    MARK,
    OUT_OF_REACH,
    SCAN_SECONDS,
    Shelf,
    guest_card,
    shelf_folders,
    worker_folder,
)

XL = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
SDXL = {f"{XL}.lora_down.weight": (4, 2048), f"{XL}.lora_up.weight": (640, 4)}


def write_lora(path: Path, title: str = "", about: str = "", triggers: str = "") -> Path:
    """A tiny SDXL LoRA; its data are a hole on the disk."""
    said = {
        "modelspec.title": title,
        "modelspec.description": about,
        "modelspec.trigger_phrase": triggers,
    }
    header: dict[str, Any] = {"__metadata__": {k: v for k, v in said.items() if v}}
    position = 0
    for name, shape in SDXL.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + position)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


@pytest.fixture
def loras(kizy_home: Path) -> Path:
    return kizy_home / "loras"


@pytest.fixture
def ink(loras: Path) -> Path:
    about = "Loose black ink drawings with washes."
    return write_lora(loras / "ink.safetensors", "Ink Wash", about, "inkwash")


@pytest.fixture
def by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a base install: no runtime for the language weights."""
    monkeypatch.setattr(module, "_language_is_there", lambda: False)


def shelf(
    index: Index | None = None, clock: Callable[[], float] = time.monotonic, **loras: Any
) -> Shelf:
    settings = Settings(loras=LorasSettings(**{"background": False, **loras}))
    return Shelf(settings, index=index, clock=clock)


def embed(texts: Sequence[str]) -> np.ndarray:
    """Made-up meanings: a different unit vector for each length of text."""
    vectors = np.zeros((len(texts), 384), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        row[len(text) % 384] = 1
    return vectors


class Learning(Index):
    """An index whose meanings need no torch; `asked`: limits it was asked with."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int | None] = []

    def compute_meanings(self, *, limit: int | None = None, **more: Any) -> int:
        self.asked.append(limit)
        return super().compute_meanings(limit=limit, embed=embed)


@pytest.fixture
def language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_language_is_there", lambda: True)


def test_the_folders_are_kizys_comfyuis_a1111s_and_those_of_the_settings(kizy_home: Path) -> None:
    settings = Settings.model_validate(
        {
            "comfyui": {
                "folder": kizy_home / "ComfyUI",
                "arguments": ("--base-directory", str(kizy_home / "base")),
            },
            "loras": {"folders": (kizy_home / "more",), "a1111": kizy_home / "webui"},
        }
    )
    paths = [folder.path for folder in shelf_folders(settings)]
    assert paths == [
        kizy_home / "loras",
        kizy_home / "base" / "models" / "loras",
        kizy_home / "webui" / "models" / "Lora",
        kizy_home / "webui" / "models" / "LyCORIS",
        kizy_home / "more",
    ]


class Clock:
    """Time that passes when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def long_ago(folder: Path) -> None:
    """As if nothing had changed in the folder for long."""
    os.utime(folder, (1_600_000_000, 1_600_000_000))


def names(shelf: Shelf) -> list[str]:
    return sorted(card.name for card in shelf.library().cards)


def test_the_library_is_scanned_on_first_use_and_then_kept(ink: Path) -> None:
    long_ago(ink.parent)
    clock = Clock()
    mine = shelf(clock=clock)
    library = mine.library()
    assert names(mine) == ["Ink Wash"]
    clock.now += 2
    assert mine.library() is library
    assert mine.library(fresh=True) is library


def test_a_new_file_is_noticed_a_moment_later(ink: Path) -> None:
    long_ago(ink.parent)
    clock = Clock()
    mine = shelf(clock=clock)
    mine.library()
    write_lora(ink.with_name("b.safetensors"), "Other")
    assert names(mine) == ["Ink Wash"]
    clock.now += 2
    assert names(mine) == ["Ink Wash", "Other"]
    ink.unlink()
    clock.now += 2
    assert names(mine) == ["Other"]


def test_a_folder_that_is_made_later_is_noticed(kizy_home: Path) -> None:
    clock = Clock()
    mine = shelf(clock=clock)
    assert names(mine) == []
    write_lora(kizy_home / "loras" / "deep" / "b.safetensors", "Other")
    clock.now += 2
    assert names(mine) == ["Other"]


def test_a_file_that_comes_in_the_moment_of_the_scan_is_noticed(ink: Path) -> None:
    clock = Clock()
    mine = shelf(clock=clock)
    mine.library()
    moment = ink.parent.stat()
    write_lora(ink.with_name("b.safetensors"), "Other")
    os.utime(ink.parent, ns=(moment.st_atime_ns, moment.st_mtime_ns))
    clock.now += 2
    assert names(mine) == ["Ink Wash", "Other"]


def test_a_file_that_is_written_to_in_place_is_noticed_after_a_while(ink: Path) -> None:
    long_ago(ink.parent)
    clock = Clock()
    mine = shelf(clock=clock)
    mine.library()
    size = ink.stat().st_size
    write_lora(ink, "Ink Wash 2")
    assert ink.stat().st_size != size
    long_ago(ink.parent)
    clock.now += SCAN_SECONDS + 1
    assert names(mine) == ["Ink Wash 2"]


def test_a_broken_file_does_not_make_everything_be_read_again(ink: Path) -> None:
    ink.with_name("broken.safetensors").write_bytes(b"no LoRA")
    os.utime(ink.with_name("broken.safetensors"), (1_600_000_000, 1_600_000_000))
    long_ago(ink.parent)
    clock = Clock()
    mine = shelf(clock=clock)
    library = mine.library()
    clock.now += SCAN_SECONDS + 1
    assert mine.library() is library


def test_meanings_that_another_process_works_out_are_noticed(ink: Path, language: None) -> None:
    long_ago(ink.parent)
    clock = Clock()
    mine = shelf(clock=clock)
    assert not mine.library().has_meanings
    assert shelf().compute_meanings() > 0
    clock.now += 10
    assert mine.library().has_meanings


def test_a_wish_gets_the_lora_that_it_speaks_of(ink: Path, by_words: None) -> None:
    choice = shelf().select("a knight, ink wash", "sdxl")
    assert [picked.card.name for picked in choice.picked] == ["Ink Wash"]
    assert choice.by_words_only


def test_the_settings_say_how_many_are_combined(ink: Path, by_words: None) -> None:
    assert shelf(max=0).select("a knight, ink wash", "sdxl").picked == ()
    assert len(shelf(max=0).select("a knight, ink wash", "sdxl", max_loras=1).picked) == 1


def test_the_settings_say_from_which_folders_is_picked(ink: Path, by_words: None) -> None:
    choice = shelf(scope_folders=("people",)).select("a knight, ink wash", "sdxl")
    assert choice.picked == ()
    wider = shelf(scope_folders=("people",)).select("a knight, ink wash", "sdxl", scope=Scope())
    assert len(wider.picked) == 1


def test_adult_loras_are_picked_only_if_the_settings_allow_them(ink: Path, by_words: None) -> None:
    told = {"id": 1, "model": {"name": "Ink Wash", "type": "LORA", "nsfw": True}}
    ink.with_name("ink.civitai.info").write_text(json.dumps(told))
    assert shelf().select("a knight, ink wash", "sdxl").picked == ()
    assert len(shelf(adult=True).select("a knight, ink wash", "sdxl").picked) == 1


def test_what_the_engine_cannot_reach_is_not_picked(ink: Path, by_words: None) -> None:
    choice = shelf().select("a knight, ink wash", "sdxl", only=())
    assert choice.picked == ()
    assert OUT_OF_REACH in (choice.why_none or "")


def test_what_the_engine_cannot_reach_is_refused_if_it_is_named(ink: Path, by_words: None) -> None:
    choice = shelf().select("a knight", "sdxl", named=[Named("Ink Wash")], only=())
    assert [OUT_OF_REACH in refused.why for refused in choice.refused] == [True]
    mine = shelf()
    keys = {card.key for card in mine.library().cards}
    taken = mine.select("a knight", "sdxl", named=[Named("Ink Wash")], only=keys)
    assert [picked.card.name for picked in taken.picked] == ["Ink Wash"]


def test_a_file_of_no_folder_is_taken_by_its_path(kizy_home: Path, by_words: None) -> None:
    path = write_lora(kizy_home / "elsewhere" / "x.safetensors", "Elsewhere")
    guest = guest_card(path)
    choice = shelf().select("a knight", "sdxl", named=[Named(guest.key, 0.5)], guests=[guest])
    assert [(p.card.name, p.model_weight) for p in choice.picked] == [("Elsewhere", 0.5)]


def test_a_broken_file_that_is_named_by_its_path_is_refused_with_the_reason(
    kizy_home: Path, by_words: None
) -> None:
    path = write_lora(kizy_home / "x.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    os.utime(path, (1_600_000_000, 1_600_000_000))
    guest = guest_card(path)
    choice = shelf().select("a knight", "sdxl", named=[Named(guest.key)], guests=[guest])
    assert ["9 bytes are missing" in refused.why for refused in choice.refused] == [True]


def test_a_lora_is_found_by_name_file_or_key(ink: Path) -> None:
    mine = shelf()
    for name in ("Ink Wash", "ink wash", "INK", "ink.safetensors", str(ink)):
        assert mine.find(name) == [ink]
    assert mine.find("in") == []


def test_few_meanings_are_worked_out_at_once(ink: Path, language: None) -> None:
    index = Learning()
    mine = shelf(index)
    assert mine.learn_a_few() == ()
    assert index.asked == [module.FEW_TEXTS]
    assert mine.library().has_meanings
    assert mine.learn_a_few() == () and len(index.asked) == 1


def test_many_meanings_are_left_to_the_background_and_told(loras: Path, language: None) -> None:
    for number in range(module.FEW_TEXTS):
        write_lora(loras / f"{number}.safetensors", f"Ink {number}", "Ink drawings.")
    index = Learning()
    (notice,) = shelf(index, background=True).learn_a_few()
    assert "64 of your LoRAs are known by words only; Kizy learns" in notice
    assert "loras.background is off" in shelf(index).learn_a_few()[0]
    assert index.asked == []


def test_without_the_runtime_no_meaning_is_promised(ink: Path, by_words: None) -> None:
    mine = shelf()
    assert mine.learn_a_few() == ()
    assert mine.compute_meanings() == 0


def test_what_a_service_says_of_a_download_is_known_at_once(ink: Path) -> None:
    from kizy.catalog.formats.published_facts import Facts
    from kizy.core.files import sha256_of

    mine = shelf()
    mine.learn(ink, sha256_of(ink), Facts(title="Ink by Ana", triggers=("anaink",)))
    (record,) = mine.files()
    assert (record.card.name, record.card.triggers) == ("Ink by Ana", ("anaink",))
    known = mine.known(ink)
    assert known is not None and known.sha256 == sha256_of(ink)


def test_a_file_that_has_changed_since_is_not_known(ink: Path) -> None:
    mine = shelf()
    mine.scan()
    os.utime(ink, (1_600_000_001, 1_600_000_001))
    assert mine.known(ink) is None


# What is done while nobody waits.


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Logs of the processes that would have been started."""
    logs: list[Path] = []
    monkeypatch.setattr(module, "_start_worker", logs.append)
    return logs


def in_background(**loras: Any) -> None:
    mine = shelf(background=True, **loras)
    mine.scan()
    mine.in_background()


def test_a_process_is_started_if_there_is_something_to_do(ink: Path, started: list[Path]) -> None:
    in_background()
    assert len(started) == 1


def test_none_is_started_if_there_is_nothing_to_do(
    kizy_home: Path, started: list[Path], by_words: None
) -> None:
    in_background()
    assert started == []


def test_none_is_started_if_the_settings_say_so(ink: Path, started: list[Path]) -> None:
    mine = shelf(background=False)
    mine.scan()
    mine.in_background()
    assert started == []


def test_none_is_started_while_one_is_at_work(ink: Path, started: list[Path]) -> None:
    lock = OwnerLock(worker_folder())
    assert lock.take()
    in_background()
    lock.give_back()
    assert started == []


def test_several_commands_in_a_row_start_one(ink: Path, started: list[Path]) -> None:
    in_background()
    in_background()
    assert len(started) == 1


def test_one_that_never_came_to_its_lock_is_started_again(ink: Path, started: list[Path]) -> None:
    in_background()
    os.utime(worker_folder() / MARK, (1_600_000_000, 1_600_000_000))
    in_background()
    assert len(started) == 2


def test_a_folder_that_cannot_be_written_fails_nobody(
    ink: Path, kizy_home: Path, started: list[Path]
) -> None:
    mine = shelf(background=True)
    mine.scan()
    (kizy_home / "cache").write_text("a file in its place")
    mine.in_background()
    assert started == []


def test_the_work_is_done_until_nothing_is_left(ink: Path, language: None) -> None:
    index = Learning()
    mine = shelf(index)
    # Its name, its name with what it says of itself, its trigger; and one file.
    assert shelf_worker.run(mine) >= 3
    assert (index.unfinished().meanings, index.unfinished().hashes) == (0, 0)


@pytest.fixture
def no_rush(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests keep their priority."""
    monkeypatch.setattr(shelf_worker, "_step_back", lambda: None)


def test_the_process_learns_everything_and_ends(ink: Path, by_words: None, no_rush: None) -> None:
    worker_folder().mkdir(parents=True)
    (worker_folder() / MARK).touch()
    assert shelf_worker.main() == 0
    assert Index().unfinished().hashes == 0
    assert not (worker_folder() / MARK).exists()


def test_the_process_leaves_the_work_to_one_that_is_at_it(ink: Path, no_rush: None) -> None:
    lock = OwnerLock(worker_folder())
    assert lock.take()
    assert shelf_worker.main() == 0
    lock.give_back()
    assert Index().files() == []


def test_wrong_settings_end_the_process_with_words(
    kizy_home: Path, no_rush: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (kizy_home / "kizy.toml").write_text("comfyui = 3")
    assert shelf_worker.main() == 1
    assert "A setting is wrong" in capsys.readouterr().out


def test_the_process_is_started_by_the_modules_name() -> None:
    assert f"kizy.{module.WORKER}" == shelf_worker.__name__


def test_threads_that_come_at_once_share_one_look_and_one_library(
    ink: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[int] = []
    both = threading.Barrier(2)
    scan = Index.scan

    def slowly(self: Index, *given: Any, **how: Any) -> Any:
        scans.append(threading.get_ident())
        # The other thread has time to come to the same place.
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.2)
        return scan(self, *given, **how)

    monkeypatch.setattr(Index, "scan", slowly)
    one = shelf()
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: one.library(), range(2))
    assert first is second and [card.name for card in first.cards] == ["Ink Wash"]
    assert len(scans) == 1


def test_threads_that_come_at_once_share_one_index(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Index] = []
    both = threading.Barrier(2)
    begin = Index.__init__

    def slowly(self: Index, *given: Any) -> None:
        made.append(self)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.2)
        begin(self, *given)

    monkeypatch.setattr(Index, "__init__", slowly)
    one = shelf()
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: one.files(), range(2)))
    assert found == [[], []] and len(made) == 1
