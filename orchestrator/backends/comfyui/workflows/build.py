"""The text-to-image templates, one for each family and form, from the family's facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from .....catalog.families.family import Family, SplitForm, load_families
from .graph import Graph, Output
from .node_types import MODEL_FOLDERS
from .template import GraphNode, Requires, Template

Form = Literal["checkpoint", "encoders", "split"]
"""One file with everything; a checkpoint with text encoders of their own; all files apart."""

FORMS: tuple[Form, ...] = ("checkpoint", "encoders", "split")

MODEL_INPUTS: dict[Form, tuple[str, str]] = {
    "checkpoint": ("CheckpointLoaderSimple", "ckpt_name"),
    "encoders": ("CheckpointLoaderSimple", "ckpt_name"),
    "split": ("UNETLoader", "unet_name"),
}
"""Form -> the loader's node class and the input that names the denoiser's file."""

_TITLES: dict[Form, str] = {
    "checkpoint": "text to picture",
    "encoders": "text to picture, text encoders apart",
    "split": "text to picture, all files apart",
}


def forms_of(family: Family) -> tuple[Form, ...]:
    """The forms that the family's files come in."""
    facts = family.comfyui
    has = {
        "checkpoint": facts.checkpoint is not None,
        "encoders": bool(facts.checkpoint and facts.checkpoint.bare and facts.split),
        "split": facts.split is not None,
    }
    return tuple(form for form in FORMS if has[form])


def template_id(family: Family, form: Form) -> str:
    """Such as "flux1-dev-split"; it names the file, too."""
    return f"{family.id}-{form}"


def text_to_image_templates() -> Iterator[Template]:
    """All of them, by family and form."""
    for family in load_families().values():
        for form in forms_of(family):
            yield text_to_image(family, form)


def text_to_image(family: Family, form: Form) -> Template:
    """Text to a picture with the family's own nodes, files and settings."""
    graph = Graph()
    parameters: dict[str, tuple[str, ...]] = {}
    with graph.group("Model"):
        model, clip, vae = _loaders(graph, family, form, parameters)
    with graph.group("Prompt"):
        positive, negative = _prompts(graph, family, clip, parameters)
    with graph.group("Picture"):
        empty = graph.add(
            family.comfyui.latent_node,
            "Empty latent",
            width=family.native_width,
            height=family.native_height,
            batch_size=1,
        )
        parameters["width"] = (empty.place("width"),)
        parameters["height"] = (empty.place("height"),)
        sample = graph.add(
            "KSampler",
            "Sample",
            model=model,
            seed=0,
            positive=positive,
            negative=negative,
            latent_image=empty[0],
            denoise=1.0,
            **sampling(family),
        )
        decode = graph.add("VAEDecode", "Decode", samples=sample[0], vae=vae)
        save = graph.add(
            "SaveImage", "Save picture", images=decode[0], filename_prefix="Kizy/picture"
        )
    if family.guidance_kind == "cfg":
        parameters["guidance"] = (sample.place("cfg"),)
    for name, place in {
        "seed": "seed",
        "steps": "steps",
        "sampler": "sampler_name",
        "scheduler": "scheduler",
        "denoise": "denoise",
    }.items():
        parameters[name] = (sample.place(place),)
    parameters["prefix"] = (save.place("filename_prefix"),)
    ports = {
        "model": model,
        "clip": clip,
        "vae": vae,
        "positive": positive,
        "negative": negative,
        "latent": empty[0],
        "samples": sample[0],
        "image": decode[0],
    }
    return to_template(
        graph,
        id=template_id(family, form),
        title=f"{family.name}: {_TITLES[form]}",
        task="text_to_image",
        family=family.id,
        parameters=parameters,
        ports=ports,
        outputs=(save.id,),
    )


def sampling(family: Family) -> dict[str, Any]:
    """KSampler's settings for balanced quality: steps, cfg, sampler_name, scheduler."""
    return {
        "steps": family.steps["balanced"],
        "cfg": family.guidance if family.guidance_kind == "cfg" else 1.0,
        "sampler_name": family.sampler,
        "scheduler": family.scheduler,
    }


def to_template(
    graph: Graph,
    *,
    id: str,  # noqa: A002 (the form's own word)
    title: str,
    task: str,
    parameters: dict[str, tuple[str, ...]],
    ports: dict[str, Output],
    family: str | None = None,
    outputs: tuple[str, ...] = (),
) -> Template:
    """A built graph in the form of a template; what it requires is read from it."""
    folders = {
        MODEL_FOLDERS[node.class_type, name]
        for node in graph.nodes
        for name in node.inputs
        if (node.class_type, name) in MODEL_FOLDERS
    }
    values = {
        "id": id,
        "title": title,
        "task": task,
        "family": family,
        "requires": Requires(
            nodes=tuple(sorted({node.class_type for node in graph.nodes})),
            models=tuple(sorted(folders)),
        ),
        "parameters": parameters,
        "takes": graph.takes(),
        "ports": {name: (output.node, output.index) for name, output in ports.items()},
        "outputs": outputs,
        "graph": {key: GraphNode.model_validate(node) for key, node in graph.to_api().items()},
    }
    return Template.model_validate(values)


def _loaders(
    graph: Graph, family: Family, form: Form, parameters: dict[str, tuple[str, ...]]
) -> tuple[Output, Output, Output]:
    """Model, CLIP and VAE."""
    facts = family.comfyui
    if form == "split" and facts.split is not None:
        unet = graph.add(
            "UNETLoader",
            "Load diffusion model",
            unet_name=facts.split.diffusion_model,
            weight_dtype="default",
        )
        parameters["model"] = (unet.place("unet_name"),)
        clip = _text_encoders(graph, facts.split, parameters)
        vae = graph.add("VAELoader", "Load VAE", vae_name=facts.split.vae)
        parameters["vae"] = (vae.place("vae_name"),)
        return unet[0], clip, vae[0]
    if facts.checkpoint is None:
        raise ValueError(f"{family.id} has no checkpoint form")
    bare = form == "encoders"
    file = facts.checkpoint.bare[0] if bare else facts.checkpoint.file
    loader = graph.add("CheckpointLoaderSimple", "Load checkpoint", ckpt_name=file)
    parameters["model"] = (loader.place("ckpt_name"),)
    if not bare or facts.split is None:
        return loader[0], loader[1], loader[2]
    return loader[0], _text_encoders(graph, facts.split, parameters), loader[2]


def _text_encoders(
    graph: Graph, split: SplitForm, parameters: dict[str, tuple[str, ...]]
) -> Output:
    names = {f"clip_name{i}": file for i, file in enumerate(split.text_encoders, start=1)}
    more = {"type": split.clip_type} if split.clip_type is not None else {}
    loader = graph.add(split.clip_loader, "Load text encoders", **names, **more)
    for i, name in enumerate(names, start=1):
        parameters[f"text_encoder_{i}"] = (loader.place(name),)
    return loader[0]


def _prompts(
    graph: Graph, family: Family, clip: Output, parameters: dict[str, tuple[str, ...]]
) -> tuple[Output, Output]:
    """Positive and negative conditioning."""
    said = graph.add("CLIPTextEncode", "Positive prompt", text="", clip=clip)
    parameters["prompt"] = (said.place("text"),)
    positive = said[0]
    if family.negative_prompt:
        unsaid = graph.add("CLIPTextEncode", "Negative prompt", text="", clip=clip)
        parameters["negative"] = (unsaid.place("text"),)
    else:
        unsaid = graph.add("ConditioningZeroOut", "No negative prompt", conditioning=positive)
    if family.guidance_kind == "distilled":
        guidance = graph.add(
            "FluxGuidance", "Guidance", conditioning=positive, guidance=family.guidance
        )
        parameters["guidance"] = (guidance.place("guidance"),)
        positive = guidance[0]
    return positive, unsaid[0]
