"""What there is to ask for, as a server tells it: without any path of its disk.

Everything may be called from several threads at once. What ComfyUI servers have is what planning
knows of them: see planning/inventory.py.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary, ref

from ...catalog.card import Card
from ...catalog.families.family import load_families
from ...catalog.families.styles import STYLES
from ...catalog.search.search_index import Library
from ..app import App
from ..backends.base import COMFYUI, EMBEDDED
from ..backends.comfyui.workflows.file_names import stem
from ..backends.comfyui.workflows.library import load_templates
from ..backends.embedded import missing_libraries
from ..planning.family_names import family_in_words, family_named
from ..planning.inventory import ServerState
from ..planning.lora_search import search
from ..planning.machine import gpu_memory
from ..planning.models import (
    GIGABYTE,
    HERE,
    NOT_INSTALLED,
    Available,
    on_server,
    on_this_machine,
)
from ..service import FamilyInfo, LoraInfo, ModelInfo, ServerInfo, StyleInfo, TemplateInfo
from ..shelf import Shelf

MAX_ABOUT = 2000
"""Letters of what an author says about a LoRA."""

HERE_IN_SHORT = "here"
"""What this machine is called among the places of a model."""


def models(app: App) -> tuple[ModelInfo, ...]:
    """Every model that can be drawn with, by name, and where it lies."""
    found: dict[str, ModelInfo] = {}
    for model in all_models(app).all:
        if model.problem is not None:
            continue
        entry = model.entry
        where = HERE_IN_SHORT if model.where == HERE else model.where
        known = found.get(entry.name)
        found[entry.name] = ModelInfo(
            name=entry.name,
            family=entry.family,
            title=family_in_words(entry.family, entry.variant) if entry.family else "",
            where=(*known.where, where) if known is not None else (where,),
        )
    return tuple(sorted(found.values(), key=lambda model: model.name.casefold()))


def loras(app: App, query: str = "", family: str | None = None) -> tuple[LoraInfo, ...]:
    """All LoRAs by name, or those that fit `query` best, best first.

    Raises UnknownNameError `family_unknown`, StorageError.
    """
    return _of(app).loras(query, family)


def styles(app: App) -> tuple[StyleInfo, ...]:
    """Every style."""
    return tuple(StyleInfo(id=x.id, words=x.words, families=x.families) for x in STYLES)


def families(app: App) -> tuple[FamilyInfo, ...]:
    """Every family; sizes are those of the saved picture."""
    there = {model.family for model in models(app)}
    found: list[FamilyInfo] = []
    for facts in load_families().values():
        factor = facts.enlarge or 1.0
        sizes = {
            str(word): f"{round(width * factor)}x{round(height * factor)}"
            for word, (width, height) in facts.sizes.items()
        }
        found.append(
            FamilyInfo(
                id=facts.id,
                title=facts.name,
                licence=facts.licence.name,
                sizes=sizes,
                installed=facts.id in there,
            )
        )
    return tuple(found)


def templates(app: App) -> tuple[TemplateInfo, ...]:
    """Every workflow that draws a picture. Raises EngineError `template_invalid`."""
    return tuple(
        TemplateInfo(id=one.id, title=one.title, task=one.task, family=one.family or "")
        for one in load_templates().values()
        if not one.is_fragment
    )


def servers(app: App) -> tuple[ServerInfo, ...]:
    """This process, and every ComfyUI that is set or found, as it said last."""
    settings = app.settings
    found = [_here()] if settings.engine != COMFYUI else []
    if settings.engine != EMBEDDED:
        found += [_server(state) for state in app.comfy.states()]
    return tuple(found)


@dataclass(frozen=True)
class Models:
    """`on_servers`, `here`: all that there are; broken ones, too. `notes`: servers that have not
    told theirs, in plain words.
    """

    on_servers: tuple[Available, ...] = ()
    here: tuple[Available, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Available, ...]:
        return (*self.on_servers, *self.here)


def all_models(app: App) -> Models:
    """All models that the engine of the settings could draw with. No server is started for it."""
    on_servers: list[Available] = []
    notes: list[str] = []
    if app.settings.engine != EMBEDDED:
        seen = app.comfy.known()
        on_servers = [model for server in seen.servers for model in on_server(server)]
        notes = [f"{name} was not asked: {error.message}" for name, error in seen.errors.items()]
        silent = (name for name in seen.pending if name not in seen.errors)
        notes += [f"{name} has not answered yet." for name in silent]
    if app.settings.engine == COMFYUI:
        return Models(tuple(on_servers), (), tuple(notes))
    there = {stem(model.entry.name).casefold() for model in on_servers}
    missing = missing_libraries()
    here = [
        replace(model, problem=NOT_INSTALLED) if missing and model.problem is None else model
        for model in on_this_machine()
        # A server has it and draws with it.
        if model.entry.kind != "checkpoint" or stem(model.entry.name).casefold() not in there
    ]
    return Models(tuple(on_servers), tuple(here), tuple(notes))


class _Listings:
    """What is asked for again and again of one App.

    It has a shelf of its own: a list looks through the folders each time, and whoever plans waits
    for none of that.
    """

    def __init__(self, app: App) -> None:
        self._app = ref(app)
        self._settings = app.settings
        # Guards the shelf, from the threads of all who ask for lists. Only the index of this
        # machine is read with it.
        self._lock = threading.Lock()
        self._shelf: Shelf | None = None

    def loras(self, query: str, family: str | None) -> tuple[LoraInfo, ...]:
        wanted = family_named(family) if family is not None else None
        there = self._on_servers()
        with self._lock:
            shelf = self._shelf = self._shelf or Shelf(self._settings)
            library = shelf.library(fresh=True, also=there)
            if not query.split():
                adult = self._settings.loras.adult
                usable = (c for c in library.cards if c.problem is None and (adult or not c.mature))
                cards = [card for card in usable if _is_of(card, wanted)]
                cards = library.one_a_training(cards)
                cards.sort(key=lambda card: (card.name.casefold(), card.key))
                return tuple(_lora(card, library) for card in cards)
            found = search(
                query,
                library,
                families={wanted[0]} if wanted is not None else None,
                variant=wanted[1] if wanted is not None else None,
                scope=shelf.scope(),
            )
        usable_hits = (hit for hit in found.hits if hit.card.problem is None)
        return tuple(_lora(hit.card, library, round(hit.score, 3)) for hit in usable_hits)

    def _on_servers(self) -> list[Card]:
        """LoRAs that lie on servers; each once, and none that lies here as well."""
        app = self._app()
        if app is None or self._settings.engine == EMBEDDED:
            return []
        told = (card for server in app.comfy.known().servers for card in server.cards)
        found = {card.key: card for card in told}
        here = {stem(card.key).casefold() for card in self._here()}
        return [card for key, card in found.items() if stem(key).casefold() not in here]

    def _here(self) -> Sequence[Card]:
        with self._lock:
            shelf = self._shelf = self._shelf or Shelf(self._settings)
            return shelf.library().cards


_LOCK = threading.Lock()
_LISTINGS: WeakKeyDictionary[App, _Listings] = WeakKeyDictionary()


def _of(app: App) -> _Listings:
    with _LOCK:
        if app not in _LISTINGS:
            _LISTINGS[app] = _Listings(app)
        return _LISTINGS[app]


def _lora(card: Card, library: Library, score: float | None = None) -> LoraInfo:
    return LoraInfo(
        name=library.name_of(card),
        title=card.name,
        versions=tuple(library.file_name(version) for version in library.versions(card)),
        family=card.family,
        about=card.about[:MAX_ABOUT],
        triggers=card.triggers,
        tags=card.tags,
        weight=card.weight,
        score=score,
    )


def _is_of(card: Card, wanted: tuple[str, str | None] | None) -> bool:
    if wanted is None:
        return True
    family, variant = wanted
    return card.family == family and (variant is None or card.variant == variant)


def _here() -> ServerInfo:
    missing = missing_libraries()
    memory = gpu_memory()
    device = "" if memory is None else f"GPU, {memory / GIGABYTE:.0f} GB" if memory else "CPU"
    state = f"not installed: {', '.join(missing)}" if missing else "ready"
    return ServerInfo(name=HERE_IN_SHORT, kind="embedded", state=state, device=device)


def _server(state: ServerState) -> ServerInfo:
    if state.problem is not None:
        told = state.problem.message
        return ServerInfo(name=state.name, kind="comfyui", state=told, url=state.url)
    return ServerInfo(
        name=state.name,
        kind="comfyui",
        state="ready",
        version=state.version,
        device=", ".join(state.devices),
        queue=state.queue,
        url=state.url,
    )
