"""`kizy loras check` and `kizy models check`: everything that a file says of itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...catalog.card import Card
from ...catalog.downloads.offer import in_bytes, memory_fit
from ...catalog.families.family import load_families
from ...catalog.formats.lora_names import TEXT_ENCODERS, parts
from ...catalog.formats.lora_reader import Reader, Reading
from ...catalog.formats.safetensors_header import MODEL_SUFFIXES, Header, is_file, read_header
from ...catalog.formats.sidecars import sidecar_names
from ...catalog.index.models import find_model
from ...catalog.index.name_lookup import is_path
from ...catalog.index.scan import Found, Tensors, finished, look
from ...core.errors import ModelFileError, UnknownNameError, nearest
from ..planning.family_names import family_in_words
from ..planning.machine import this_machine
from ..settings import load_settings
from ..shelf import Shelf
from .console import STATES, document, made_for_words, plural, shown

BROKEN = 1
"""Exit status for a file that cannot be used."""

_FORMS = {
    "lora": "LoRA",
    "dora": "DoRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "ia3": "IA3",
    "oft": "OFT",
    "full": "full difference",
}
_NO_FAMILY = "unknown: its tensors fit no family that Kizy knows"


def check_lora(file: str, *, as_json: bool) -> None:
    """Print what a LoRA says. Exit status 1 if it cannot be used.

    Raises UnknownNameError `file_missing` or `lora_unknown`.
    """
    path = _lora_path(file)
    about = path.stat()
    names = tuple(name for name in sidecar_names(path.name) if is_file(path.with_name(name)))
    found = Found(path, path.parent, about.st_size, about.st_mtime_ns, names)
    looked = look(found, Reader())
    card, reading, made_for = looked.card, looked.reading, None
    broken = looked.health != "ok"
    if reading is not None and not broken:
        known = Shelf(load_settings()).known(path)
        if known is not None:
            card, made_for = known.card, known.made_for
        else:
            tensors = Tensors(reading.refuted, reading.made_for, reading.doubts)
            card, made_for = finished(card, looked.said, None, tensors)
    header = read_header(path) if reading is not None else None
    if as_json:
        document(_lora_document(path, looked.health, card, reading, header))
    else:
        health = (
            "ok" if not broken else f"{STATES.get(looked.health, looked.health)}: {card.problem}"
        )
        rows = {"File": str(path), "Size": in_bytes(about.st_size), "Health": health}
        if reading is not None and header is not None and not broken:
            rows |= _lora_rows(card, made_for, reading, header)
        _print(rows)
    _leave(broken)


def check_model(file: str, *, as_json: bool) -> None:
    """Print what a model says. Exit status 1 if it cannot be used.

    Raises UnknownNameError `file_missing` or `model_unknown`.
    """
    try:
        entry = find_model(file)
    except ModelFileError as error:
        if as_json:
            document({"path": file, "health": "broken", "problem": error.message})
        else:
            _print({"File": file, "Health": error.message, "What to do": error.fix})
        _leave(True)
        return
    known = load_families().get(entry.family or "")
    fits, fits_why = memory_fit(known, this_machine())
    single = entry.path is not None and is_file(entry.path)
    header = read_header(entry.path) if single and entry.path is not None else None
    if as_json:
        document(
            {
                "path": str(entry.path) if entry.path is not None else None,
                "name": entry.name,
                "health": "ok" if known is not None else "broken",
                "problem": entry.problem,
                "family": entry.family,
                "variant": entry.variant,
                "kind": entry.kind,
                "size": entry.size,
                "tensors": len(header.tensors) if header is not None else None,
                "precision": _precision(header) if header is not None else None,
                "licence": known.licence.name if known is not None else None,
                "fits": fits,
            }
        )
        _leave(known is None)
        return
    rows = {"Name": entry.name}
    if entry.path is not None:
        rows["File" if single else "Folder"] = str(entry.path)
    rows |= {
        "Size": in_bytes(entry.size),
        "Health": "ok" if known is not None else _unfit(entry.problem),
        "Family": family_in_words(entry.family, entry.variant) if known else _NO_FAMILY,
    }
    if header is not None:
        rows["Tensors"] = f"{len(header.tensors):,}, {_precision(header)}"
    if known is not None:
        use = "business too" if known.licence.commercial else "not for business"
        rows["Licence"] = f"{known.licence.name} ({use})"
        rows["Memory"] = fits_why
        rows["Drawn by"] = "Kizy itself, or ComfyUI" if entry.drawable_here else "ComfyUI"
    _print(rows)
    _leave(known is None)


def _unfit(problem: str | None) -> str:
    return " ".join(filter(None, ("no model that Kizy can draw with.", problem)))


def _lora_path(file: str) -> Path:
    """A file by its path, or one of the library by its name.

    Raises UnknownNameError `file_missing` or `lora_unknown`, InputError `name_ambiguous`.
    """
    path = Path(file)
    if is_file(path):
        return path.absolute()
    shelf = Shelf(load_settings())
    found = shelf.find(file)
    if found:
        return shelf.only(found, file)
    if path.suffix.lower() in MODEL_SUFFIXES or is_path(file) or "/" in file or "\\" in file:
        raise UnknownNameError("file_missing", f"There is no file {file}.")
    hint = nearest(file, (record.path.stem for record in shelf.files()))
    raise UnknownNameError("lora_unknown", f'No LoRA is called "{file}". {hint}'.strip())


def _lora_rows(
    card: Card, made_for: str | None, reading: Reading, header: Header
) -> dict[str, str]:
    family = made_for_words(card, made_for, _NO_FAMILY)
    alpha = "as the rank" if reading.alpha is None else f"{reading.alpha:g}"
    rows = {
        "Name": card.name,
        "For": family,
        "Form": _FORMS.get(reading.form or "lora", reading.form or ""),
        "Rank": f"{reading.rank or 'not told'}, alpha {alpha}",
        "Changes": _changes(reading, header),
        "Tensors": f"{len(header.tensors):,}, {_precision(header)}",
        "Trigger words": ", ".join(card.triggers) or "none told",
    }
    if card.about:
        rows["About"] = card.about
    if card.tags:
        rows["Tags"] = ", ".join(card.tags[:20])
    if card.weight is not None:
        rows["Strength"] = f"{card.weight:g}, as its author recommends"
    if card.mature:
        rows["Adult"] = "yes"
    return rows


def _changes(reading: Reading, header: Header) -> str:
    modules = _modules(header)
    texts = sum(name.startswith(TEXT_ENCODERS) for name in modules)
    drawing = plural(len(modules) - texts, "module")
    if reading.text_encoder:
        return f"{drawing} of the model and {texts:,} of its text encoders"
    return f"{drawing} of the model; the text encoders stay as they are"


def _modules(header: Header) -> frozenset[str]:
    return frozenset(module for module, _, _ in parts(header))


def _precision(header: Header) -> str:
    many = Counter(tensor.dtype for tensor in header.tensors.values())
    return ", ".join(dtype for dtype, _ in many.most_common(3)) or "no tensors"


def _lora_document(
    path: Path, health: str, card: Card, reading: Reading | None, header: Header | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"path": str(path), "health": health, "problem": card.problem}
    if reading is None or header is None:
        return found
    return found | {
        "what": reading.what,
        "name": card.name,
        "family": card.family,
        "variant": card.variant,
        "form": reading.form,
        "rank": reading.rank,
        "alpha": reading.alpha,
        "text_encoder": reading.text_encoder,
        "triggers": list(card.triggers),
        "tags": list(card.tags),
        "about": card.about,
        "weight": card.weight,
        "mature": card.mature,
        "tensors": len(header.tensors),
        "modules": len(_modules(header)),
        "precision": _precision(header),
        "size": reading.size,
    }


def _print(rows: dict[str, str]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(name), Text("\n".join(shown(part) for part in value.splitlines())))
    Console().print(table)


def _leave(broken: bool) -> None:
    if broken:
        import typer

        raise typer.Exit(BROKEN)
