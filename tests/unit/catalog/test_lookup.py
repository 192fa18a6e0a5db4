"""Which file a name means."""

from __future__ import annotations

import unicodedata

import pytest
from kizy.catalog.index.name_lookup import Listed, Names, is_path, short_name
from kizy.core.errors import InputError


def names(*files: str, **titles: str) -> Names:
    """Files by their paths, and titles of some: names("a.safetensors", a="Ink")."""
    listed = []
    for file in files:
        title = titles.get(file.rpartition("/")[2].removesuffix(".safetensors"))
        listed.append(Listed(key=file, file=file, titles=(title,) if title else ()))
    return Names(listed)


def found(known: Names, name: str) -> list[str]:
    return [one.key for one in known.find(name)]


SAME = ("same.safetensors", "folder/same.safetensors")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("same.safetensors", SAME[0]),
        ("same", SAME[0]),
        ("folder/same.safetensors", SAME[1]),
        ("folder/same", SAME[1]),
        ("folder\\same", SAME[1]),
        ("FOLDER/Same", SAME[1]),
    ],
)
@pytest.mark.parametrize("slash", ["/", "\\"])
def test_each_of_two_files_of_one_name_can_be_reached(name: str, file: str, slash: str) -> None:
    known = names(*(one.replace("/", slash) for one in SAME))
    assert found(known, name) == [file.replace("/", slash)]


def test_a_files_name_goes_before_another_ones_title() -> None:
    known = names("alpha.safetensors", "zeta.safetensors", alpha="zeta")
    assert found(known, "zeta.safetensors") == ["zeta.safetensors"]
    assert found(known, "zeta") == ["zeta.safetensors"]
    assert found(names("alpha.safetensors", alpha="zeta"), "zeta") == ["alpha.safetensors"]
    assert found(names("alpha.safetensors", alpha="zeta"), "zeta.safetensors") == []


def test_a_file_with_a_title_is_found_by_its_own_name() -> None:
    known = names("sub/crayon_v2.safetensors", crayon_v2="Wax Crayons")
    for name in ("crayon_v2", "crayon_v2.safetensors", "sub/crayon_v2", "wax crayons"):
        assert found(known, name) == ["sub/crayon_v2.safetensors"]


def test_a_name_that_several_files_answer_to_is_refused_and_names_them() -> None:
    known = names("A/dup.safetensors", "B/dup.safetensors")
    with pytest.raises(InputError, match="A/dup, B/dup") as caught:
        known.the("dup", "LoRA")
    assert caught.value.code == "name_ambiguous"
    one = known.the("A/dup", "LoRA")
    assert one is not None and one.key == "A/dup.safetensors"


def test_a_title_of_several_files_is_refused() -> None:
    known = names("a.safetensors", "b.safetensors", a="Ink", b="Ink")
    with pytest.raises(InputError, match="a, b"):
        known.the("ink", "LoRA")


def test_a_name_with_a_folder_means_no_file_of_another_folder() -> None:
    assert found(names("people/nadia.safetensors"), "styles/nadia") == []


def test_the_very_letters_go_before_others() -> None:
    known = names("Ink.safetensors", "ink.safetensors")
    assert found(known, "Ink") == ["Ink.safetensors"]
    assert found(known, "INK") == ["Ink.safetensors", "ink.safetensors"]


def test_composed_and_decomposed_letters_are_the_same() -> None:
    file = unicodedata.normalize("NFD", "café.safetensors")
    assert found(names(file), "café") == [file]


def test_copies_of_one_file_count_as_one() -> None:
    copies = [Listed(f"/{at}/x.safetensors", "x.safetensors", size=7) for at in "ab"]
    one = Names(copies).the("x", "LoRA")
    assert one is not None and one.key == "/a/x.safetensors"


HARD = (
    "same.safetensors",
    "folder/same.safetensors",
    "blank .safetensors",
    "blank.safetensors",
    "double  blank.safetensors",
    "auto.safetensors",
    "none.safetensors",
    "ratio:1.safetensors",
    "a<b>:c.safetensors",
    "A/dup.safetensors",
    "B/dup.safetensors",
    "win\\dir\\dup.safetensors",
    "x.ckpt",
    "x.safetensors",
    "~sketch.safetensors",
    "v1.5.safetensors",
    "名前.safetensors",
)


def test_every_listed_name_means_its_file_alone() -> None:
    known = names(*HARD)
    shown = {one.key: known.name_of(one) for one in known.listed}
    assert len(set(shown.values())) == len(HARD)
    for key, name in shown.items():
        # A request takes the blanks around a name away.
        assert found(known, name.strip()) == [key]
        assert not is_path(name)


@pytest.mark.parametrize("letters", ["a<b>:c", "a_b__c"])
def test_a_name_that_a_tag_cannot_hold_is_found_as_a_tag_writes_it(letters: str) -> None:
    assert found(names(*HARD), letters) == ["a<b>:c.safetensors"]


def test_a_title_is_listed_where_it_is_one_files_alone() -> None:
    known = names("a.safetensors", "b.safetensors", "c.safetensors", a="Ink", b="Ink", c="Wax")
    shown = [known.name_of(one, *one.titles) for one in known.listed]
    assert shown == ["a", "b", "Wax"]


def test_the_shortest_name_is_told() -> None:
    listed = ["styles\\ink.safetensors", "a/dup.safetensors", "b/dup.safetensors"]
    assert [short_name(file, listed) for file in listed] == ["ink", "a/dup", "b/dup"]


@pytest.mark.parametrize(
    "name",
    [
        "/lib/x.safetensors",
        "~/x.safetensors",
        "~ann/x.safetensors",
        "~",
        "./x",
        ".\\x",
        "..",
        "../x",
        "a/../../x",
        "a\\..\\x",
        "C:\\x.safetensors",
        "c:/x.safetensors",
        "\\\\server\\share\\x.safetensors",
        "//server/share/x",
        "file:///x.safetensors",
        "https://host/x.safetensors",
        "smb://host/x",
        "a\0b",
    ],
)
def test_paths_and_addresses_are_told_by_their_form(name: str) -> None:
    assert is_path(name)


@pytest.mark.parametrize(
    "name", ["folder/x", "folder\\x", "a..b", "...", "~sketch", "C: The Movie", "file: a", "v1.5"]
)
def test_what_may_be_a_files_name_is_no_path(name: str) -> None:
    assert not is_path(name)
