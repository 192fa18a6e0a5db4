"""`kizy loras`: what there is, what is found by words, and what is chosen for a prompt, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ...catalog.card import Card
from ...catalog.downloads.offer import in_bytes
from ...core.errors import InputError
from ..planning.family_names import family_in_words, family_named
from ..settings import load_settings
from ..shelf import Shelf
from .console import (
    STATES,
    VERSION_MARK,
    columns,
    document,
    line,
    made_for_words,
    plural,
    scanning,
    shown,
)

if TYPE_CHECKING:
    from ...catalog.index.lora_index import FileRecord
    from ...catalog.search.search_index import Library
    from ...catalog.search.select import Choice

COLUMNS = ("Name", "For", "Trigger words", "Rank", "Size", "Health")
TRIGGERS_SHOWN = 3
LETTERS_SHOWN = 40

INSTALL = 'python -m pip install "kizy[local]"'


@dataclass(frozen=True)
class Wanted:
    """What `kizy loras why` goes by; None or empty: as Kizy finds it, or as the settings say."""

    family: str | None = None
    model: str | None = None
    most: int | None = None
    folders: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def loras(*, family: str | None, as_json: bool) -> None:
    """Print all LoRAs, here or on the server of the settings.

    Raises UnknownNameError `family_unknown`, StorageError.
    """
    settings = load_settings()
    if settings.server is not None:
        from . import lists_remote as listed_there

        listed_there.loras(settings, family=family, as_json=as_json)
        return
    wanted = family_named(family) if family is not None else None
    shelf = Shelf(settings)
    with scanning(shelf):
        records = [r for r in shelf.files() if wanted is None or _is_of(r.card, wanted)]
        library = shelf.library()
    shelf.in_background()
    entries = _entries(records, library)
    if as_json:
        folders = [{"path": shown(f.path), "of": f.origin} for f in shelf.folders]
        loras = [_as_dict(record, library) for record in entries]
        document({"loras": loras, "folders": folders})
        return
    console = Console()
    if not records:
        _say_none(console, shelf, wanted)
        return
    usable = [record for record in entries if record.health == "ok"]
    usable.sort(key=lambda r: (r.card.name.casefold(), r.card.key))
    if usable:
        columns(console, COLUMNS, _rows(usable, records, library), right=("Rank", "Size"))
    broken = [record for record in records if record.health != "ok"]
    if broken:
        console.print()
        line(console, "These cannot be used:", "bold")
        for record in broken:
            line(console, str(record.path))
            line(
                console,
                record.card.problem or STATES.get(record.health, record.health),
                "dim",
                indent=4,
            )
    console.print()
    line(console, _summary(usable, broken), "bold")


def search(words: str, *, family: str | None, as_json: bool) -> None:
    """Print what the words may mean. Raises as `loras`, and InputError `request_invalid`."""
    from ..planning.lora_search import search as find

    if not words.split():
        fix = 'Say what you look for: kizy loras search "ink drawing"'
        raise InputError("request_invalid", "There are no words to look for.", fix=fix)
    settings = load_settings()
    if settings.server is not None:
        from . import lists_remote as listed_there

        listed_there.search_loras(words, settings, family=family, as_json=as_json)
        return
    wanted = family_named(family) if family is not None else None
    shelf = Shelf(settings)
    with scanning(shelf):
        notices = shelf.learn_a_few()
    library = shelf.library()
    found = find(
        words,
        library,
        families={wanted[0]} if wanted is not None else None,
        variant=wanted[1] if wanted is not None else None,
        scope=shelf.scope(),
    )
    shelf.in_background()
    if as_json:
        hits = [
            {**_card(h.card, library), "score": round(h.score, 3), "why": h.why} for h in found.hits
        ]
        document(
            {
                "words": words,
                "found": hits,
                "more": found.more,
                "by_words_only": found.by_words_only,
                "notices": list(notices),
            }
        )
        return
    console = Console()
    for hit in found.hits:
        line(console, f"{library.name_of(hit.card)}  ({_short(hit.card)})", "bold")
        line(console, hit.why, indent=4)
        if hit.versions:
            names = ", ".join(library.file_name(card) for card in hit.versions)
            line(console, f"Versions: {names}", "dim", indent=4)
    if not found.hits:
        line(console, f'No LoRA here is about "{words}".')
        line(console, "Get one with `kizy loras add ADDRESS`, from Civitai or Hugging Face.", "dim")
    if found.more:
        line(console, f"{found.more:,} more come less close.", "dim")
    if found.hidden:
        text = f"{plural(found.hidden, 'adult LoRA')} not shown: the setting loras.adult is off."
        line(console, text, "dim")
    _tell_notices(console, notices, by_words_only=found.by_words_only and not notices)


def why(prompt: str, *, wanted: Wanted, as_json: bool) -> None:
    """Print the choice for a prompt. Raises as `loras`, and UnknownNameError `model_unknown`."""
    if not prompt.split():
        fix = 'Say what you want to see: kizy loras why "a fox, ink drawing"'
        raise InputError("prompt_empty", "The prompt has no words.", fix=fix)
    if wanted.family is not None and wanted.model is not None:
        message = "--family and --model both say which LoRAs fit; give one of them."
        raise InputError("request_invalid", message)
    if wanted.most is not None and wanted.most < 0:
        raise InputError("request_invalid", "--max is at least 0.")
    from ...core.request import GenerationRequest
    from ..planning.pasted import read_pasted

    settings = load_settings()
    if settings.server is not None:
        from . import lists_remote as listed_there

        others = wanted.family is not None or wanted.most is not None
        others = others or bool(wanted.folders or wanted.tags)
        listed_there.why_loras(prompt, settings, model=wanted.model, others=others, as_json=as_json)
        return
    shelf = Shelf(settings)
    with scanning(shelf):
        family, variant, because, notices = _family_for(prompt, wanted, shelf)
    pasted = read_pasted(GenerationRequest(prompt=prompt))
    choice = shelf.select(
        prompt if pasted is None else pasted.request.prompt,
        family,
        variant=variant,
        scope=shelf.scope(wanted.folders, wanted.tags),
        max_loras=wanted.most,
    )
    choice = replace(choice, notices=(*notices, *choice.notices))
    shelf.in_background()
    if as_json:
        document(
            {"prompt": prompt, "family": family, "variant": variant, "because": because}
            | _choice(choice, shelf.library())
        )
        return
    console = Console()
    line(console, f"For {family_in_words(family, variant)}: {because}", "dim")
    console.print()
    tell_choice(console, choice, shelf.library())


def tell_choice(console: Console, choice: Choice, library: Library) -> None:
    """A choice in full: picked, refused, runners-up, and what else to know."""
    for picked in choice.picked:
        line(console, f"{library.name_of(picked.card)}  (strength {_weights(picked)})", "bold")
        if picked.triggers:
            line(console, f"Adds to your prompt: {', '.join(picked.triggers)}", indent=4)
        line(console, picked.why, indent=4)
    if choice.why_none is not None:
        line(console, "No LoRA is used.", "bold")
        line(console, choice.why_none, indent=4)
    for refused in choice.refused:
        name = refused.card.name if refused.card is not None else refused.named.name
        line(console, f"{name}  (refused)", "bold")
        line(console, refused.why, indent=4)
    if choice.runners_up:
        console.print()
        line(console, "Looked at, not taken:", "dim")
        for card, reason in choice.runners_up:
            line(console, f"{library.name_of(card)}  ({_short(card)})")
            line(console, reason, "dim", indent=4)
    by_words = choice.by_words_only and not choice.notices
    _tell_notices(console, choice.notices, by_words_only=by_words)


def _weights(picked: Any) -> str:
    same = picked.model_weight == picked.clip_weight
    clip = "" if same else f", text {picked.clip_weight:g}"
    return f"{picked.model_weight:g}{clip}"


def _tell_notices(console: Console, notices: Sequence[str], *, by_words_only: bool) -> None:
    from ...catalog.index.meanings import why_by_words
    from ...language import missing

    told = [f"Note: {notice}" for notice in notices]
    if by_words_only and missing():
        told.append(f"By words alone: {why_by_words(known=True)} ({INSTALL}).")
    if told:
        console.print()
    for text in told:
        line(console, text, "dim")


def _family_for(
    prompt: str, wanted: Wanted, shelf: Shelf
) -> tuple[str, str | None, str, tuple[str, ...]]:
    """(family, variant, why this one, what of a pasted block is not taken)."""
    from contextlib import closing

    from ...core.request import GenerationRequest
    from ..app import App
    from ..planning.pasted import decided
    from ..planning.resolve import resolve

    if wanted.family is not None:
        return *family_named(wanted.family), "you named it.", ()
    request = GenerationRequest(prompt=prompt, model=wanted.model or "auto")
    with closing(App(settings=load_settings())) as app:
        taken, pasted = decided(
            request, lambda one: app.model_for(resolve(one, files=True).request)
        )
    entry, notices = taken.entry, () if pasted is None else pasted.notices
    if entry.family is None:
        message = f"Kizy does not know which family of models {entry.name} is of."
        fix = "Name the family with --family."
        raise InputError("request_invalid", message, fix=fix)
    if wanted.model is not None:
        named = f'the family of "{entry.name}", which you named.'
        return entry.family, entry.variant, named, notices
    because = f'Kizy would draw this with "{entry.name}".'
    of = Counter(card.family for card in shelf.library().cards if card.problem is None)
    others = [known for known, _ in of.most_common() if known]
    if others and entry.family not in of:
        because += f" You have no LoRA for it; --family {others[0]} asks for those that you have."
    return entry.family, entry.variant, because, notices


def _is_of(card: Card, wanted: tuple[str, str | None]) -> bool:
    family, variant = wanted
    return card.family == family and (variant is None or card.variant == variant)


def _entries(records: Sequence[FileRecord], library: Library) -> list[FileRecord]:
    """Of the files that one training left behind, the one that stands for them."""
    heads = {card.key for card in library.one_a_training([record.card for record in records])}
    return [record for record in records if record.card.key in heads]


def _rows(
    entries: Sequence[FileRecord], records: Sequence[FileRecord], library: Library
) -> list[tuple[str, ...]]:
    """A line for each LoRA, and one for each version of it."""
    sizes = {record.card.key: record.size for record in records}
    rows: list[tuple[str, ...]] = []
    for record in entries:
        card = record.card
        rows.append(
            (
                shown(library.name_of(card)),
                shown(made_for_words(card, record.made_for)),
                shown(_triggers(card)),
                str(record.rank or ""),
                in_bytes(record.size),
                "ok, adult" if card.mature else "ok",
            )
        )
        for version in library.versions(card):
            name = f"{VERSION_MARK}{shown(library.file_name(version))}"
            rows.append((name, "", "", "", in_bytes(sizes.get(version.key, version.size)), ""))
    return rows


def _triggers(card: Card) -> str:
    from ...catalog.words.card_words import trigger_phrases

    phrases = trigger_phrases(card)
    text = ", ".join(phrases[:TRIGGERS_SHOWN])
    more = f" +{len(phrases) - TRIGGERS_SHOWN}" if len(phrases) > TRIGGERS_SHOWN else ""
    if len(text) > LETTERS_SHOWN:
        text = text[: LETTERS_SHOWN - 1].rstrip() + "…"
    return text + more


def _summary(usable: Sequence[FileRecord], broken: Sequence[FileRecord]) -> str:
    of = Counter(family_in_words(record.card.family) for record in usable)
    parts = [f"{many:,} for {name}" for name, many in of.most_common() if name != "unknown"]
    if of["unknown"]:
        parts.append(f"{of['unknown']:,} for models that Kizy does not know")
    size = in_bytes(sum(record.size for record in usable))
    text = f"{plural(len(usable), 'LoRA')}, {size}"
    text += f": {', '.join(parts)}." if parts else "."
    if broken:
        text += f" {len(broken):,} cannot be used."
    return text


def _say_none(console: Console, shelf: Shelf, wanted: tuple[str, str | None] | None) -> None:
    if wanted is not None:
        line(console, f"You have no LoRA for {family_in_words(*wanted)}.")
        line(console, "`kizy loras` lists those that you have.", "dim")
        return
    line(console, "You have no LoRAs yet. Kizy looked in:")
    for folder in shelf.folders:
        line(console, f"    {folder.path}")
    console.print()
    line(console, "To get one:    kizy loras add ADDRESS   (a page on Civitai or Hugging Face)")
    line(console, "From a file:   kizy loras add FILE.safetensors")
    line(console, "If they lie elsewhere, set `folders` in the table [loras] of kizy.toml.")


def _short(card: Card) -> str:
    adult = ", adult" if card.mature else ""
    return f"{family_in_words(card.family, card.variant)}{adult}"


def _card(card: Card, library: Library) -> dict[str, Any]:
    return {
        "name": library.name_of(card),
        "title": card.name,
        "versions": [library.file_name(version) for version in library.versions(card)],
        "path": card.key,
        "family": card.family,
        "variant": card.variant,
        "triggers": list(card.triggers),
        "problem": card.problem,
    }


def _as_dict(record: FileRecord, library: Library) -> dict[str, Any]:
    card = record.card
    return _card(card, library) | {
        "kind": card.kind,
        "about": card.about,
        "tags": list(card.tags),
        "folder": card.folder,
        "size": record.size,
        "health": record.health,
        "form": record.form,
        "made_for": record.made_for,
        "rank": record.rank,
        "alpha": record.alpha,
        "text_encoder": record.text_encoder,
        "weight": card.weight,
        "mature": card.mature,
        "sha256": record.sha256,
    }


def _choice(choice: Choice, library: Library) -> dict[str, Any]:
    picked = [
        _card(one.card, library)
        | {
            "model_weight": one.model_weight,
            "clip_weight": one.clip_weight,
            "inserted": list(one.triggers),
            "why": one.why,
            "score": one.score,
        }
        for one in choice.picked
    ]
    return {
        "picked": picked,
        "why_none": choice.why_none,
        "refused": [{"name": one.named.name, "why": one.why} for one in choice.refused],
        "runners_up": [
            _card(card, library) | {"why": reason} for card, reason in choice.runners_up
        ],
        "by_words_only": choice.by_words_only,
        "notices": list(choice.notices),
    }
