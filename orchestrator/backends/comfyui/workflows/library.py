"""The templates that Kizy brings, and which of them draws a Plan on a server."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from .....catalog.families.family import Family, load_families
from .....core.errors import EngineError, UnknownNameError, nearest
from .....core.plan import Plan
from .build import MODEL_INPUTS, Form, forms_of, template_id
from .file_names import find_name, stem
from .missing import model_missing
from .server_facts import ServerFacts
from .template import Template, read_template

API_FOLDER = Path(__file__).parents[4] / "workflows" / "api"

STARTER = "starter"
"""What Plans call Kizy's own model; a server lists it under the name in the family's facts."""


@lru_cache(maxsize=8)
def load_templates(folder: Path = API_FOLDER) -> Mapping[str, Template]:
    """Id -> template or fragment, by id; read once. Raises EngineError `template_invalid`."""
    found: dict[str, Template] = {}
    for path in sorted(folder.glob("*.json")):
        read = read_template(path)
        if read.id != path.stem:
            message = f"{path.name} holds the template {read.id}, so it should bear that name."
            raise EngineError("template_invalid", message)
        found[read.id] = read
    return MappingProxyType(found)


def template_for(plan: Plan, server: ServerFacts) -> Template:
    """The text-to-image template of the Plan's family whose loader lists the Plan's model.

    Raises UnknownNameError `family_unknown`, EngineError `server_model_missing` or
    `template_invalid`, InputError `request_invalid` if the name fits several files.
    """
    family = plan_family(plan)
    for form in _forms_for(family, plan.model.name):
        if find_name(model_name(plan, family), server.choices(*MODEL_INPUTS[form])) is not None:
            return _template(template_id(family, form))
    raise missing_model(plan, family, server)


def plan_family(plan: Plan) -> Family:
    """The Plan's family. Raises UnknownNameError `family_unknown`."""
    families = load_families()
    if plan.family not in families:
        hint = nearest(plan.family, families)
        raise UnknownNameError("family_unknown", f'No family is called "{plan.family}". {hint}')
    return families[plan.family]


def model_name(plan: Plan, family: Family) -> str:
    """What a server may call the Plan's model."""
    facts = family.comfyui.checkpoint
    if plan.model.name == STARTER and family.id == STARTER and facts is not None:
        return facts.file
    return plan.model.name


def missing_model(plan: Plan, family: Family, server: ServerFacts) -> EngineError:
    """The server does not list the Plan's model in any form: what is near, where it comes from."""
    inputs = dict.fromkeys(MODEL_INPUTS[form] for form in forms_of(family))
    listed = [name for wanted in inputs for name in server.choices(*wanted)]
    name = model_name(plan, family)
    return model_missing(server, "model", name, listed, "checkpoints", family)


def fragment(name: str) -> Template:
    """A fragment that Kizy brings, such as "lora". Raises EngineError `template_invalid`."""
    return _template(f"fragment-{name}")


def _template(template: str) -> Template:
    found = load_templates().get(template)
    if found is None:
        message = f"The template {template} is not in {API_FOLDER}."
        raise EngineError("template_invalid", message)
    return found


def _forms_for(family: Family, name: str) -> tuple[Form, ...]:
    """The family's forms, without those that a file of that name cannot have."""
    facts = family.comfyui.checkpoint
    bare = facts is not None and stem(name) in {stem(file) for file in facts.bare}
    never: Form = "checkpoint" if bare else "encoders"
    return tuple(form for form in forms_of(family) if form != never)
