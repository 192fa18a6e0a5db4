"""`kizy models`: what is installed, what is found by words, and which one a prompt would get."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...catalog.families.family import load_families
from ...catalog.index.models import STARTER, ModelEntry, look_through
from ...core.errors import InputError
from ...core.home import models_folder
from ...core.request import GenerationRequest
from ..app import App, TakenModel
from ..backends.base import COMFYUI
from ..jobs.listings import Models, all_models
from ..planning.family_names import family_in_words, family_named
from ..planning.models import COMFYUI_FIRST, Available
from ..planning.pasted import read_pasted
from ..planning.starter_limits import starter_limits
from ..settings import load_settings
from .console import document, line, shown

NAMED_ANOTHER = "It suits the prompt best of those that nobody named."


def models(*, as_json: bool) -> None:
    """The installed models, or those of the server of the settings."""
    settings = load_settings()
    if settings.server is not None:
        from . import lists_remote as listed_there

        listed_there.models(settings, as_json=as_json)
        return
    found = look_through()
    entries = found.entries
    if as_json:
        listed = [_as_dict(entry) for entry in entries]
        print(json.dumps({"models": listed, "notes": list(found.notes)}))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Name", "Family", "Kind", "Size", "State"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        table.add_row(
            Text(shown(entry.name)),
            Text(family_in_words(entry.family, entry.variant)),
            Text(entry.kind),
            Text(f"{entry.size / 1e6:,.0f} MB" if entry.size else ""),
            Text(shown(entry.problem or "ready")),
        )
    console = Console()
    console.print(table)
    for note in found.notes:
        line(console, f"Note: {note}", "dim")
    line(console, f"More go into {models_folder()} (diffusers folders).", "dim")
    line(console, "`kizy models add ADDRESS` gets one from Civitai or Hugging Face.", "dim")


def search(words: str, *, family: str | None, as_json: bool) -> None:
    """Print the models whose name or family holds the words, on this machine and on servers.

    Raises InputError `request_invalid`, `settings_invalid`; UnknownNameError `family_unknown`.
    """
    if not words.split():
        fix = 'Say what you look for: kizy models search "xl photo"'
        raise InputError("request_invalid", "There are no words to look for.", fix=fix)
    wanted = family_named(family) if family is not None else None
    settings = load_settings()
    if settings.server is not None:
        from . import lists_remote as listed_there

        of = wanted[0] if wanted is not None else None
        listed_there.search_models(words, settings, family=of, as_json=as_json)
        return
    with closing(App(settings=settings)) as app:
        here = all_models(app)
    scored = [(_hits(words, model.entry), model) for model in here.all]
    found = [
        model
        for hits, model in sorted(scored, key=lambda pair: (-pair[0], pair[1].entry.name))
        if hits and (wanted is None or _is_of(model.entry, wanted))
    ]
    if as_json:
        document({"words": words, "found": [_here(m) for m in found], "notes": list(here.notes)})
        return
    console = Console()
    for model in found:
        entry = model.entry
        line(console, entry.name, "bold")
        where = f"{family_in_words(entry.family, entry.variant)}, on {model.where}"
        line(console, f"{where}: {model.problem}" if model.problem else where, indent=4)
    if not found:
        line(console, f'No model here is called "{words}", nor of a family called so.')
        line(console, "`kizy models why PROMPT` says which one suits a prompt.", "dim")
    _tell_notes(console, here)


def why(prompt: str, *, as_json: bool) -> None:
    """Print which model a prompt would get. Raises InputError `prompt_empty`, ..."""
    if not prompt.split():
        fix = 'Say what you want to see: kizy models why "a photo of a street at night"'
        raise InputError("prompt_empty", "The prompt has no words.", fix=fix)
    settings = load_settings()
    if settings.server is not None:
        from . import lists_remote as listed_there

        listed_there.why_model(prompt, settings, as_json=as_json)
        return
    request = GenerationRequest(prompt=prompt)
    with closing(App(settings=settings)) as app:
        taken = app.model_for(request)
        there = all_models(app)
    told = _explained(taken, there)
    pasted = read_pasted(request)
    said = prompt if pasted is None else pasted.request.prompt
    limits = [*taken.notices, *_limits(told.entry, said)]
    if as_json:
        facts = _choice(told, there, settings.model)
        document({"prompt": prompt, **facts, "notes": [*facts["notes"], *limits]})
        return
    console = Console()
    line(console, f"{told.name}  ({_of(told.entry)}, on {told.where})", "bold")
    line(console, told.why, indent=4)
    for limit in limits:
        line(console, f"Note: {limit}", indent=4)
    if told.runners_up:
        console.print()
        line(console, "Looked at, not taken:", "dim")
        for model, reason in told.runners_up:
            line(console, f"{_named(model.entry)}  ({_of(model.entry)}, on {model.where})")
            line(console, reason, "dim", indent=4)
    _tell_notes(console, there)


@dataclass(frozen=True)
class _Explained:
    """The model that is taken, and those that are not, with why."""

    entry: ModelEntry
    where: str
    why: str
    intent: str
    runners_up: tuple[tuple[Available, str], ...]

    @property
    def name(self) -> str:
        return _named(self.entry)


def _explained(taken: TakenModel, there: Models) -> _Explained:
    choice, models = taken.chosen.choice, taken.chosen.models
    of_engine = there.on_servers if taken.engine == COMFYUI else there.here
    places = [model for model in of_engine if model.entry.name == taken.entry.name]
    if choice.model is not None and choice.model.key == taken.entry.name:
        # Of several servers that have it, the one that the rule counted.
        places = [models[choice.model.key], *places]
    where = places[0].where if places else "a path"
    others = [(models[card.key], reason) for card, reason in choice.runners_up]
    if choice.model is not None and choice.model.key != taken.entry.name:
        others.insert(0, (models[choice.model.key], NAMED_ANOTHER))
    if taken.engine == COMFYUI:
        usable = (m for m in there.here if m.problem is None and m.entry.family != STARTER)
        others += [(model, COMFYUI_FIRST) for model in usable]
    else:
        others += [(model, taken.engine_why) for model in there.on_servers]
    runners_up = tuple(pair for pair in others if pair[0].entry.name != taken.entry.name)
    return _Explained(taken.entry, where, taken.why, choice.intent, runners_up)


def _limits(entry: ModelEntry, prompt: str) -> list[str]:
    """What of the prompt will not be seen, if the starter draws it."""
    if entry.family != STARTER:
        return []
    return [notice.why for notice in starter_limits(prompt).notices]


def _hits(words: str, entry: ModelEntry) -> int:
    """How many of the words its name, family and fine-tune hold; 0 unless they hold all."""
    known = load_families().get(entry.family or "")
    variant = known.variant(entry.variant) if known and entry.variant else None
    texts = [entry.name, *((known.id, known.name, *known.aliases) if known else ())]
    texts += (variant.name, *variant.aliases) if variant else ()
    held = [text.casefold() for text in texts]
    parts = words.casefold().split()
    hits = sum(any(part in text for text in held) for part in parts)
    whole = " ".join(parts) in entry.name.casefold()
    return hits + whole if hits == len(parts) or whole else 0


def _is_of(entry: ModelEntry, wanted: tuple[str, str | None]) -> bool:
    family, variant = wanted
    return entry.family == family and (variant is None or entry.variant == variant)


def _of(entry: ModelEntry) -> str:
    return family_in_words(entry.family, entry.variant)


def _named(entry: ModelEntry) -> str:
    return entry.name.rsplit("/", 1)[-1]


def _tell_notes(console: Console, here: Models) -> None:
    for note in here.notes:
        line(console, f"Note: {note}", "dim")


def _as_dict(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "family": entry.family,
        "variant": entry.variant,
        "kind": entry.kind,
        "path": str(entry.path) if entry.path is not None else None,
        "size": entry.size,
        "drawable_here": entry.drawable_here,
        "problem": entry.problem,
    }


def _here(model: Available) -> dict[str, Any]:
    return _as_dict(model.entry) | {"where": model.where, "problem": model.problem}


def _choice(told: _Explained, there: Models, preferred: str | None) -> dict[str, Any]:
    def of(entry: ModelEntry, where: str, reason: str) -> dict[str, Any]:
        return {
            "name": _named(entry),
            "family": entry.family,
            "variant": entry.variant,
            "where": where,
            "why": reason,
        }

    return {
        "intent": told.intent,
        "model": of(told.entry, told.where, told.why),
        "why": told.why,
        "runners_up": [of(one.entry, one.where, reason) for one, reason in told.runners_up],
        "settings_model": preferred,
        "notes": list(there.notes),
    }
