"""What to say when a server lacks a node or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .....catalog.families.family import Family, SourceFile
from .....core.errors import EngineError, nearest
from .file_names import ENLARGER, ENLARGER_FILE, stem
from .node_types import NODE_TYPES
from .server_facts import ServerFacts

PACK = "ComfyUI-Kizy"


def node_missing(server: ServerFacts, node_class: str) -> EngineError:
    """`server_node_missing`, with where the node comes from if that is known."""
    if node_class in NODE_TYPES:
        whose = "which belongs to ComfyUI itself"
        fix = "Update ComfyUI there to 0.3.64 or newer."
    elif node_class.startswith("Kizy"):
        whose = f"which comes with the node pack {PACK}"
        fix = f"Install {PACK} there with ComfyUI-Manager, then restart ComfyUI."
    else:
        whose = "which comes with a node pack that Kizy does not know"
        fix = (
            f'Search for "{node_class}" in ComfyUI-Manager there, install its pack and restart '
            "ComfyUI."
        )
    message = f"{server.address} has no node {node_class}, {whose}."
    return EngineError("server_node_missing", message, fix=fix)


def model_missing(
    server: ServerFacts,
    what: str,
    name: str,
    listed: Iterable[str],
    folder: str,
    family: Family | None = None,
) -> EngineError:
    """`server_model_missing`, with the nearest name there and where the right file comes from.

    `what`: such as "LoRA"; `folder`: below `models/`.
    """
    hint = nearest(stem(name), {stem(known) for known in listed})
    message = f'{server.address} has no {what} called "{name}". {hint}'.strip()
    fix = _where_from(name, what, family) if family is not None else None
    fix = fix or f"Put the file into ComfyUI's folder models/{folder} on that server."
    return EngineError("server_model_missing", message, fix=fix)


def enlarger_missing(server: ServerFacts, name: str, listed: Iterable[str]) -> EngineError:
    """`server_model_missing` for an enlarging model."""
    if name != ENLARGER:
        return model_missing(server, "enlarging model", name, listed, "upscale_models")
    message = f"{server.address} has no {ENLARGER_FILE}, Kizy's enlarging model."
    return EngineError("server_model_missing", message, fix=_install_pack())


def control_missing(
    server: ServerFacts, kind: str, family: Family, listed: Sequence[str]
) -> EngineError:
    """`server_model_missing` for a ControlNet that reads maps of a kind."""
    message = f"{server.address} has no ControlNet for {kind} maps with {family.name}."
    if listed:
        message += f" Its ControlNet files: {', '.join(listed[:8])}."
    fix = (
        f"Put a ControlNet of {family.name} for {kind} into ComfyUI's folder models/controlnet "
        f'there; its name must hold the word "{kind}", or "union", and one that tells the family '
        f"({', '.join(_hints(family))})."
    )
    return EngineError("server_model_missing", message, fix=fix)


def _hints(family: Family) -> list[str]:
    facts = family.comfyui.control
    return [name.rstrip("*") for name in facts.names] if facts is not None else []


def _where_from(name: str, what: str, family: Family) -> str | None:
    """How to get the file: itself if its source is known, else the family's own ones."""
    own = [file for file in family.files if stem(file.name) == stem(name)]
    if not own and what == "model":
        own = [f for f in family.files if f.folder in ("checkpoints", "diffusion_models")]
    if not own:
        return None
    if own[0].pack is not None:
        return _install_pack()
    return "Put " + ", or ".join(_source(file) for file in own[:2]) + ", on that server."


def _source(file: SourceFile) -> str:
    renamed = "" if file.path is None or file.path.endswith(file.name) else f", {file.path}"
    return (
        f"{file.name} (https://huggingface.co/{file.repo}{renamed}) into ComfyUI's folder "
        f"models/{file.folder}"
    )


def _install_pack() -> str:
    return f"Install the node pack {PACK} there with ComfyUI-Manager, then restart ComfyUI."
