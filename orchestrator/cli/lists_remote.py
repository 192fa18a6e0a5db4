"""`kizy models`, `kizy loras` and `kizy servers`, asked of a Kizy server.

The JSON documents have the fields that they have for this machine; what the server does not tell
is null or empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...core.errors import InputError
from ...core.plan import Plan
from ...core.request import GenerationRequest
from ..planning.family_names import family_in_words
from ..service import LoraInfo, ModelInfo, ServerInfo
from ..settings import Settings
from .console import VERSION_MARK, columns, document, line, plural, shown
from .draw_remote import server

LORA_COLUMNS = ("Name", "For", "Trigger words", "About")
ABOUT = 60
"""Letters of what a LoRA is about that fit into a list."""


def models(settings: Settings, *, as_json: bool) -> None:
    """The models that the server can draw with."""
    with server(settings) as service:
        found, url = service.models(), service.url
    if as_json:
        document({"models": [_model(one) for one in found]})
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Name", "Family", "On"):
        table.add_column(heading, overflow="fold")
    for one in found:
        cells = (one.name, one.title or family_in_words(one.family), ", ".join(one.where))
        table.add_row(*(Text(shown(cell)) for cell in cells))
    console = Console()
    console.print(table)
    line(console, f"On the server {url}.", "dim")


def search_models(words: str, settings: Settings, *, family: str | None, as_json: bool) -> None:
    """Models of the server whose name or family holds all the words."""
    with server(settings) as service:
        listed = service.models()
    parts = words.casefold().split()
    found = [
        one
        for one in listed
        if all(part in f"{one.name} {one.title} {one.family}".casefold() for part in parts)
        and family in (None, one.family)
    ]
    if as_json:
        document({"words": words, "found": [_model(one) for one in found], "notes": []})
        return
    console = Console()
    for one in found:
        line(console, one.name, "bold")
        of = one.title or family_in_words(one.family)
        line(console, f"{of}, on {', '.join(one.where)}", indent=4)
    if not found:
        line(console, f'No model on the server is called "{words}", nor of a family called so.')


def why_model(prompt: str, settings: Settings, *, as_json: bool) -> None:
    """Which model of the server a prompt would get."""
    plan = _plan(prompt, settings)
    reason = next((one for one in plan.reasons if one.choice == "model"), None)
    why = reason.why if reason is not None else ""
    if as_json:
        told = {"name": plan.model.name, "family": plan.family, "variant": None, "where": None}
        rest = {"why": why, "runners_up": [], "settings_model": None, "notes": []}
        document({"prompt": prompt, "intent": None, "model": told | {"why": why}} | rest)
        return
    console = Console()
    line(console, f"{plan.model.name}  ({family_in_words(plan.family)})", "bold")
    line(console, why, indent=4)


def loras(settings: Settings, *, family: str | None, as_json: bool) -> None:
    """The LoRAs that the server can pick."""
    with server(settings) as service:
        found, url = service.loras("", family), service.url
    if as_json:
        document({"loras": [_lora(one) for one in found], "folders": []})
        return
    console = Console()
    if found:
        columns(console, LORA_COLUMNS, [row for one in found for row in _lora_rows(one)])
        console.print()
    line(console, f"{plural(len(found), 'LoRA')} on the server {url}.", "bold")


def search_loras(words: str, settings: Settings, *, family: str | None, as_json: bool) -> None:
    """LoRAs of the server that fit the words, best first."""
    with server(settings) as service:
        found = service.loras(words, family)
    if as_json:
        hits = [_lora(one) | {"score": one.score, "why": one.about} for one in found]
        rest = {"more": 0, "by_words_only": False, "notices": []}
        document({"words": words, "found": hits} | rest)
        return
    console = Console()
    for one in found:
        line(console, f"{one.name}  ({family_in_words(one.family)})", "bold")
        line(console, one.about or "Nothing is known about it.", indent=4)
    if not found:
        line(console, f'No LoRA on the server is about "{words}".')


def why_loras(
    prompt: str, settings: Settings, *, model: str | None, others: bool, as_json: bool
) -> None:
    """Which LoRAs of the server a prompt would get. `others`: options that it knows nothing of."""
    if others:
        message = "--family, --max, --folder and --tag are about the LoRAs of this machine."
        fix = "Leave them out, or unset KIZY_SERVER."
        raise InputError("request_invalid", message, fix=fix)
    plan = _plan(prompt, settings, model)
    reasons = [one for one in plan.reasons if one.choice == "lora"]
    notes = [one.why for one in plan.reasons if one.choice == "lora search"]
    why_none = next((one.why for one in reasons if one.value == "none"), None)
    because = f'The server would draw this with "{plan.model.name}".'
    if as_json:
        picked = [
            {
                "name": lora.file.name,
                "path": None,
                "family": plan.family,
                "variant": None,
                "triggers": list(lora.triggers),
                "problem": None,
                "model_weight": lora.model_weight,
                "clip_weight": lora.clip_weight,
                "inserted": list(lora.triggers),
                "why": reason.why,
                "score": None,
            }
            for lora, reason in zip(plan.loras, reasons, strict=False)
        ]
        told = {"prompt": prompt, "family": plan.family, "variant": None, "because": because}
        rest = {"refused": [], "runners_up": [], "by_words_only": False, "notices": notes}
        document(told | {"picked": picked, "why_none": why_none} | rest)
        return
    console = Console()
    line(console, f"For {family_in_words(plan.family)}: {because}", "dim")
    console.print()
    for reason in reasons:
        line(console, "No LoRA is used." if reason.value == "none" else reason.value, "bold")
        line(console, reason.why, indent=4)
    if not reasons:
        line(console, "No LoRA is used.", "bold")
    for note in notes:
        line(console, f"Note: {note}", "dim")


def servers(settings: Settings, *, as_json: bool) -> None:
    """Where the server draws."""
    with server(settings) as service:
        found, url = service.servers(), service.url
    if as_json:
        document({"servers": [_server(one) for one in found]})
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Name", "Kind", "State", "Version", "Device", "Jobs"):
        table.add_column(heading, overflow="fold")
    for one in found:
        queue = str(one.queue) if one.queue is not None else ""
        cells = (one.name, one.kind, one.state, one.version, one.device, queue)
        table.add_row(*(Text(shown(cell)) for cell in cells))
    console = Console()
    console.print(table)
    line(console, f"Where the Kizy server {url} draws.", "dim")


def _plan(prompt: str, settings: Settings, model: str | None = None) -> Plan:
    with server(settings) as service:
        return service.plan(GenerationRequest(prompt=prompt, model=model or "auto"))


def _lora_rows(lora: LoraInfo) -> list[Sequence[str]]:
    """A LoRA, and a line for each version of it."""
    versions = ((f"{VERSION_MARK}{shown(name)}", "", "", "") for name in lora.versions)
    return [_row(lora), *versions]


def _row(lora: LoraInfo) -> Sequence[str]:
    about = lora.about if len(lora.about) <= ABOUT else lora.about[: ABOUT - 1].rstrip() + "…"
    cells = (lora.name, family_in_words(lora.family), ", ".join(lora.triggers[:3]), about)
    return [shown(" ".join(cell.split())) for cell in cells]


def _model(model: ModelInfo) -> dict[str, Any]:
    return {
        "name": model.name,
        "family": model.family,
        "variant": None,
        "kind": "server",
        "path": None,
        "size": None,
        "drawable_here": False,
        "problem": None,
        "where": ", ".join(model.where),
    }


def _lora(lora: LoraInfo) -> dict[str, Any]:
    unknown = ("path", "variant", "problem", "kind", "folder", "size", "form", "made_for", "rank")
    more = ("alpha", "text_encoder", "mature", "sha256")
    return dict.fromkeys((*unknown, *more)) | {
        "name": lora.name,
        "title": lora.title or lora.name,
        "versions": list(lora.versions),
        "family": lora.family,
        "triggers": list(lora.triggers),
        "about": lora.about,
        "tags": list(lora.tags),
        "health": "ok",
        "weight": lora.weight,
    }


def _server(one: ServerInfo) -> dict[str, Any]:
    ready = one.state == "ready"
    devices = [{"name": one.device, "memory": None, "free": None}] if one.device else []
    return {
        "name": one.name,
        "url": one.url,
        "started_by_kizy": False,
        "reachable": ready,
        "problem": None if ready else one.state,
        "fix": None,
        "version": one.version or None,
        "devices": devices,
        "queue": one.queue,
        "kizy_pack": None,
        "families": None,
        "kind": one.kind,
    }
