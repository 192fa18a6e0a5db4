"""What there is to ask for, as a server tells it: without any path of its disk.

Everything may be called from several threads at once; what asks other servers is kept for some
seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from ..catalog.card import Card
from ..catalog.family import load_families
from ..catalog.styles import STYLES
from ..core.errors import KizyError
from .app import App
from .engines.base import COMFYUI, EMBEDDED
from .engines.comfy import probe
from .engines.comfy.address import Address
from .engines.comfy.client import ComfyClient
from .engines.comfy.discover import discover
from .engines.comfy.timing import Timing
from .engines.embedded import NEEDED
from .family_names import family_in_words, family_named
from .lora_search import search
from .machine import gpu_memory
from .models_here import HERE, ModelHere, models_here
from .server_loras import name_on_server, server_cards
from .service import FamilyInfo, LoraInfo, ModelInfo, ServerInfo, StyleInfo, TemplateInfo
from .shelf import Shelf
from .templates.library import load_templates
from .templates.names import stem

KEPT_SECONDS = 10.0
"""So long an answer of other servers counts as new."""

PATIENCE = 5.0
"""Seconds for each answer of a server."""

GIGABYTE = 1e9
MAX_ABOUT = 2000
"""Letters of what an author says about a LoRA."""

HERE_IN_SHORT = "here"
"""What this machine is called among the places of a model."""

_Value = TypeVar("_Value")


def models(app: App) -> tuple[ModelInfo, ...]:
    """Every model that can be drawn with, by name, and where it lies."""
    found: dict[str, ModelInfo] = {}
    for model in _of(app).models():
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
    """This process, and every ComfyUI that is set or found, as it is now."""
    settings = app.settings
    found = [_here()] if settings.engine != COMFYUI else []
    if settings.engine != EMBEDDED:
        found += _each(_server, discover(settings))
    return tuple(found)


class _Listings:
    """What is asked for again and again of one App.

    It has a shelf of its own: the App's is used from one thread, by whoever plans.
    """

    def __init__(self, app: App) -> None:
        self._settings = app.settings
        self._lock = threading.Lock()
        self._shelf: Shelf | None = None
        self._models = _Kept(partial(models_here, app.settings))
        self._on_servers = _Kept(self._ask_for_loras)

    def models(self) -> Sequence[ModelHere]:
        return self._models.value().all

    def loras(self, query: str, family: str | None) -> tuple[LoraInfo, ...]:
        wanted = family_named(family) if family is not None else None
        there = self._on_servers.value()
        with self._lock:
            shelf = self._shelf = self._shelf or Shelf(self._settings)
            shelf.welcome(there)
            library = shelf.library(fresh=True)
            if not query.split():
                adult = self._settings.loras.adult
                usable = (c for c in library.cards if c.problem is None and (adult or not c.mature))
                cards = [card for card in usable if _is_of(card, wanted)]
                cards.sort(key=lambda card: (card.name.casefold(), card.key))
                return tuple(_lora(card) for card in cards)
            found = search(
                query,
                library,
                families={wanted[0]} if wanted is not None else None,
                variant=wanted[1] if wanted is not None else None,
                scope=shelf.scope(),
            )
        usable_hits = (hit for hit in found.hits if hit.card.problem is None)
        return tuple(_lora(hit.card, round(hit.score, 3)) for hit in usable_hits)

    def _ask_for_loras(self) -> list[Card]:
        """LoRAs that lie on servers; each once, and none that lies here as well is asked for."""
        if self._settings.engine == EMBEDDED:
            return []
        found: dict[str, Card] = {}
        for cards in _each(_loras_of, discover(self._settings)):
            found |= {card.key: card for card in cards}
        here = {stem(card.key).casefold() for card in self._here()}
        return [card for key, card in found.items() if stem(key).casefold() not in here]

    def _here(self) -> Sequence[Card]:
        with self._lock:
            shelf = self._shelf = self._shelf or Shelf(self._settings)
            cards = shelf.library().cards
        return [card for card in cards if name_on_server(card) is None]


class _Kept(Generic[_Value]):
    """A value that is asked for anew after some seconds; others wait for whoever asks."""

    def __init__(self, ask: Callable[[], _Value]) -> None:
        self._ask = ask
        self._asked = float("-inf")
        self._value: _Value | None = None
        self._lock = threading.Lock()

    def value(self) -> _Value:
        with self._lock:
            if self._value is None or time.monotonic() - self._asked > KEPT_SECONDS:
                self._value = self._ask()
                self._asked = time.monotonic()
            return self._value


_LOCK = threading.Lock()
_LISTINGS: WeakKeyDictionary[App, _Listings] = WeakKeyDictionary()


def _of(app: App) -> _Listings:
    with _LOCK:
        if app not in _LISTINGS:
            _LISTINGS[app] = _Listings(app)
        return _LISTINGS[app]


def _lora(card: Card, score: float | None = None) -> LoraInfo:
    return LoraInfo(
        name=card.name,
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


def _loras_of(address: Address) -> tuple[Card, ...]:
    """None where Kizy's pack is not installed, or nobody answers."""
    client = ComfyClient(address, timing=Timing(connect=PATIENCE, read=PATIENCE))
    try:
        return server_cards(client.lora_catalog())
    except KizyError:
        return ()
    finally:
        client.close()


def _here() -> ServerInfo:
    missing = [name for name in NEEDED if find_spec(name) is None]
    memory = gpu_memory()
    device = "" if memory is None else f"GPU, {memory / GIGABYTE:.0f} GB" if memory else "CPU"
    state = f"not installed: {', '.join(missing)}" if missing else "ready"
    return ServerInfo(name=HERE_IN_SHORT, kind="embedded", state=state, device=device)


def _server(address: Address) -> ServerInfo:
    try:
        vitals = probe.vitals(address, timeout=PATIENCE)
        queue = probe.queue_length(address, timeout=PATIENCE)
    except KizyError as error:
        return ServerInfo(name=address.name, kind="comfyui", state=error.message, url=address.url)
    return ServerInfo(
        name=address.name,
        kind="comfyui",
        state="ready",
        version=vitals.version,
        device=", ".join(device.name for device in vitals.devices),
        queue=queue,
        url=address.url,
    )


def _each(ask: Callable[[Address], _Value], addresses: Sequence[Address]) -> list[_Value]:
    """All at once."""
    with ThreadPoolExecutor(max(1, len(addresses))) as at_once:
        return list(at_once.map(ask, addresses))
