"""Families of models, and fine-tunes within them, by the names that people use."""

from __future__ import annotations

from ...catalog.families.family import family, load_families
from ...core.errors import UnknownNameError, nearest


def family_in_words(id_: str | None, variant: str | None = None) -> str:
    """ "Stable Diffusion XL (Pony)"; "unknown" without a family."""
    known = load_families().get(id_ or "")
    if known is None:
        return "unknown"
    fine_tune = known.variant(variant) if variant else None
    return f"{known.name} ({fine_tune.name})" if fine_tune is not None else known.name


def family_named(name: str) -> tuple[str, str | None]:
    """(id, variant) of a family, or of a fine-tune such as "pony", by any of their names.

    Raises UnknownNameError `family_unknown`.
    """
    for known in load_families().values():
        variant = known.variant(name)
        if variant is not None:
            return known.id, variant.id
    known_variants = [v.id for known in load_families().values() for v in known.variants]
    try:
        return family(name).id, None
    except UnknownNameError:
        hint = nearest(name, [*load_families(), *known_variants])
        message = f'No family is called "{name}". {hint}'
        raise UnknownNameError("family_unknown", message.strip()) from None
