"""What one training saved on its way: versions of one LoRA."""

from __future__ import annotations

from typing import Any

import pytest
from kizy.catalog.card import Card
from kizy.catalog.index.lora_lookup import version
from kizy.catalog.search.search_index import Library, Scope
from kizy.catalog.search.select import Named, select
from kizy.core.errors import InputError


def card(file: str, name: str = "mystyle", **more: Any) -> Card:
    folder, _, _ = file.rpartition("/")
    values = {
        "family": "sdxl",
        "about": "gouache landscapes",
        "triggers": ("mystyle gouache",),
        "kind": "style",
        "folder": folder,
        "size": len(file),
    }
    return Card(key=f"/lib/{file}.safetensors", name=name, **(values | more))


def picked(library: Library, **options: Any) -> list[str]:
    choice = select("a valley, mystyle gouache", "sdxl", library, meaning_of=None, **options)
    return [
        one.card.key.removeprefix("/lib/").removesuffix(".safetensors") for one in choice.picked
    ]


ENDS = ("-000010", "-000020", "-step00000500", "_000002500", "_000000250", "-e10", "_epoch_5")


@pytest.mark.parametrize("end", [*ENDS, "-ep3", " e7", "-epoch12", "_step500", "-Step_20"])
def test_what_was_saved_on_the_way_is_told_from_its_name(end: str) -> None:
    found = version(f"sub/mystyle{end}.safetensors")
    assert (found.base, found.is_final) == ("mystyle", False)


@pytest.mark.parametrize(
    "name",
    [
        "mystyle",
        "mystyle-v2",
        "mystyle-2",
        "mystyle_20240131",
        "mystyle-231005",
        "sd_xl_1.0",
        "e10",
    ],
)
def test_other_numbers_are_part_of_a_name(name: str) -> None:
    assert version(name).is_final and version(name).base == name


def test_the_final_file_goes_before_its_own_epochs() -> None:
    library = Library.of([card(f"mystyle{end}") for end in ("", *ENDS)])
    assert picked(library) == ["mystyle"]


def test_without_a_final_file_the_latest_is_picked() -> None:
    library = Library.of([card(f"mystyle-{epoch:06}") for epoch in (10, 30, 20)])
    assert picked(library) == ["mystyle-000030"]


def test_a_final_file_that_may_not_be_picked_stands_for_nothing() -> None:
    cards = [card("mystyle", mature=True), card("mystyle-000010"), card("mystyle-000020")]
    assert picked(Library.of(cards)) == ["mystyle-000020"]
    assert picked(Library.of(cards), scope=Scope(mature=True)) == ["mystyle"]


def test_files_of_one_name_in_other_folders_are_other_trainings() -> None:
    library = Library.of([card("a/mystyle"), card("b/mystyle-000010", name="other")])
    assert library.trainings == []


@pytest.mark.parametrize("named", ["mystyle", "mystyle.safetensors", "MYSTYLE"])
def test_the_name_of_all_means_the_final_file(named: str) -> None:
    library = Library.of([card(f"mystyle{end}") for end in ("", *ENDS)])
    assert picked(library, named=[Named(named)], max_loras=0) == ["mystyle"]


def test_each_version_can_be_named() -> None:
    library = Library.of([card(f"mystyle{end}") for end in ("", *ENDS)])
    for one in library.cards:
        for name in (library.name_of(one), library.file_name(one)):
            choice = select("x", "sdxl", library, meaning_of=None, named=[Named(name)], max_loras=0)
            assert [p.card for p in choice.picked] == [one]


def test_a_version_that_is_named_is_joined_by_no_other() -> None:
    library = Library.of([card(f"mystyle{end}", name=f"n{end}") for end in ("", *ENDS)])
    assert picked(library, named=[Named("mystyle-000010")]) == ["mystyle-000010"]


def test_epochs_alone_are_no_answer_to_the_name_of_all() -> None:
    library = Library.of([card(f"mystyle-{epoch:06}") for epoch in (10, 20)])
    with pytest.raises(InputError, match="mystyle-000010, mystyle-000020") as caught:
        select("x", "sdxl", library, meaning_of=None, named=[Named("mystyle")])
    assert caught.value.code == "name_ambiguous"


def test_of_one_name_the_lora_for_the_model_is_meant() -> None:
    cards = [card("a/detail", "x"), card("b/detail", "y", family="sd15")]
    library = Library.of(cards)
    assert picked(library, named=[Named("detail")], max_loras=0) == ["a/detail"]


def test_copies_in_two_libraries_are_one_and_others_are_told_apart() -> None:
    def at(root: str, size: int) -> Card:
        return Card(key=f"/{root}/loras/x.safetensors", name="X", family="sdxl", size=size)

    copies = Library.of([at("a", 5), at("b", 5)])
    assert len(select("x", "sdxl", copies, meaning_of=None, named=[Named("x")]).picked) == 1
    others = Library.of([at("a", 5), at("b", 6)])
    with pytest.raises(InputError, match="a/loras/x, b/loras/x"):
        select("x", "sdxl", others, meaning_of=None, named=[Named("x")])
    for one in others.cards:
        choice = select(
            "q", "sdxl", others, meaning_of=None, named=[Named(others.name_of(one))], max_loras=0
        )
        assert [p.card for p in choice.picked] == [one]


def test_an_alias_is_a_name() -> None:
    library = Library.of([card("ink_v3", "Ink Wash", aliases=("inkwash_run7",))])
    assert picked(library, named=[Named("inkwash_run7")], max_loras=0) == ["ink_v3"]


def test_a_card_of_one_request_is_found_by_nobody_else() -> None:
    library = Library.of([card("ink", "Ink")])
    guest = card("private/secret", "Secret")
    with_it = library.with_guests([guest])
    assert [with_it.cards[at] for at in with_it.find("secret")] == [guest]
    assert library.find("secret") == [] and len(library.cards) == 1
    assert picked(with_it) == picked(library)
