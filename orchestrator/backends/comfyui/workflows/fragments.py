"""The fragments: what can be spliced into every text-to-image template."""

from __future__ import annotations

from typing import Literal

from .build import to_template
from .graph import Graph, Node, Output
from .node_types import NODE_TYPES
from .template import Template

PICTURE = "example.png"
"""Stands in fragments for a picture that is yet to come; ComfyUI's input folder holds it."""

WHITE, BLACK = 0xFFFFFF, 0x000000


def scale(graph: Graph, title: str, image: Output, method: str = "lanczos") -> Node:
    """To a width and height that are set later, without cropping: Plans count on whole pictures."""
    return graph.add(
        "ImageScale",
        title,
        image=image,
        upscale_method=method,
        width=512,
        height=512,
        crop="disabled",
    )


def places(*nodes: Node, **names: str) -> dict[str, tuple[str, ...]]:
    """Parameter -> its input in each of the nodes that has it."""
    return {
        parameter: tuple(
            node.place(name) for node in nodes if name in NODE_TYPES[node.class_type].inputs
        )
        for parameter, name in names.items()
    }


def on_ground(graph: Graph, title: str, load: Node, colour: int, colour_title: str) -> Output:
    """A loaded picture with that colour where it is transparent.

    LoadImage gives 1 - alpha as its mask (zeros if the picture has no alpha), so an opaque
    picture passes bit for bit.
    """
    ground = graph.add("EmptyImage", colour_title, width=64, height=64, batch_size=1, color=colour)
    return graph.add(
        "ImageCompositeMasked",
        title,
        destination=load[0],
        source=ground[0],
        x=0,
        y=0,
        resize_source=True,
        mask=load[1],
    )[0]


def lora() -> Template:
    """One LoRA; spliced in once for each."""
    graph = Graph()
    with graph.group("LoRAs"):
        apply = graph.add(
            "LoraLoader",
            "Apply LoRA",
            model=graph.take("model"),
            clip=graph.take("clip"),
            lora_name="detail.safetensors",
            strength_model=1.0,
            strength_clip=1.0,
        )
    return to_template(
        graph,
        id="fragment-lora",
        title="LoRA",
        task="lora",
        parameters=places(
            apply, lora="lora_name", model_weight="strength_model", clip_weight="strength_clip"
        ),
        ports={"model": apply[0], "clip": apply[1]},
    )


def further_part(port: Literal["positive", "negative"]) -> Template:
    """One more part of a prompt (what BREAK parts), encoded by itself; spliced in once for each.

    Its tokens follow those of the parts before; what is pooled stays the first part's.
    """
    graph = Graph()
    with graph.group("Prompt"):
        encode = graph.add("CLIPTextEncode", "Next part", text="", clip=graph.take("clip"))
        both = graph.add(
            "ConditioningConcat",
            "Parts one behind the other",
            conditioning_to=graph.take(port),
            conditioning_from=encode[0],
        )
    return to_template(
        graph,
        id=f"fragment-part-{port}",
        title=f"Further part of the {port} prompt",
        task="part",
        parameters=places(encode, words="text"),
        ports={port: both[0]},
    )


def start() -> Template:
    """Sampling begins with a picture; what is transparent becomes white."""
    graph = Graph()
    with graph.group("Start picture"):
        load = graph.add("LoadImage", "Start picture", image=PICTURE)
        opaque = on_ground(graph, "Start picture on white", load, WHITE, "White")
        scaled = scale(graph, "Scale to drawing size", opaque)
        encode = graph.add(
            "VAEEncode", "Encode start picture", pixels=scaled[0], vae=graph.take("vae")
        )
    return to_template(
        graph,
        id="fragment-start",
        title="Start picture",
        task="start",
        parameters={
            **places(load, picture="image"),
            **places(scaled, width="width", height="height"),
        },
        ports={"latent": encode[0], "start": opaque},
    )


def reference() -> Template:
    """The model sees the start picture beside the noise, and changes it as the prompt says.

    As in ComfyUI's template flux_kontext_dev_basic: at the size of that shape that the model knows.
    """
    graph = Graph()
    with graph.group("Start picture"):
        scaled = graph.add(
            "FluxKontextImageScale",
            "Scale to a size that the model knows",
            image=graph.take("start"),
        )
        encode = graph.add(
            "VAEEncode", "Encode picture to change", pixels=scaled[0], vae=graph.take("vae")
        )
        shown = graph.add(
            "ReferenceLatent",
            "Picture to change",
            conditioning=graph.take("positive"),
            latent=encode[0],
        )
    return to_template(
        graph,
        id="fragment-reference",
        title="Picture to change",
        task="reference",
        parameters={},
        ports={"positive": shown[0]},
    )


def control(*, vae: bool = False, union: bool = False) -> Template:
    """A map steers the drawing. `vae`: for families whose ControlNets read latents.

    `union`: the ControlNet is told which kind of map it gets.
    """
    graph = Graph()
    more: dict[str, Output] = {"vae": graph.take("vae")} if vae else {}
    with graph.group("Control"):
        load = graph.add("LoadImage", "Control map", image=PICTURE)
        scaled = scale(graph, "Scale map to drawing size", load[0])
        loader = graph.add(
            "ControlNetLoader", "Load ControlNet", control_net_name="control.safetensors"
        )
        net, kind = loader[0], {}
        if union:
            told = graph.add("SetUnionControlNetType", "Kind of map", control_net=net, type="auto")
            net, kind = told[0], places(told, union_type="type")
        apply = graph.add(
            "ControlNetApplyAdvanced",
            "Apply ControlNet",
            positive=graph.take("positive"),
            negative=graph.take("negative"),
            control_net=net,
            image=scaled[0],
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
            **more,
        )
    return to_template(
        graph,
        id="fragment-control" + ("-vae" if vae else "") + ("-union" if union else ""),
        title="Control map",
        task="control",
        parameters={
            **places(load, picture="image"),
            **places(scaled, width="width", height="height"),
            **places(loader, control_net="control_net_name"),
            **kind,
            **places(apply, strength="strength", start="start_percent", end="end_percent"),
        },
        ports={"positive": apply[0], "negative": apply[1]},
    )


def second_pass() -> Template:
    """What was sampled is enlarged as latents and sampled once more."""
    graph = Graph()
    with graph.group("Second pass"):
        larger = graph.add(
            "LatentUpscale",
            "Enlarge latent",
            samples=graph.take("samples"),
            upscale_method="bislerp",
            width=1024,
            height=1024,
            crop="disabled",
        )
        sample = graph.add(
            "KSampler",
            "Sample again",
            model=graph.take("model"),
            seed=0,
            steps=20,
            cfg=1.0,
            sampler_name="euler",
            scheduler="normal",
            positive=graph.take("positive"),
            negative=graph.take("negative"),
            latent_image=larger[0],
            denoise=0.5,
        )
    return to_template(
        graph,
        id="fragment-second-pass",
        title="Second pass at a larger latent",
        task="second_pass",
        parameters={
            **places(larger, width="width", height="height"),
            **places(
                sample,
                seed="seed",
                steps="steps",
                cfg="cfg",
                sampler="sampler_name",
                scheduler="scheduler",
                denoise="denoise",
            ),
        },
        ports={"samples": sample[0]},
    )


def tiled_decode() -> Template:
    """Decoding in tiles, for little memory."""
    graph = Graph()
    with graph.group("Picture"):
        decode = graph.add(
            "VAEDecodeTiled",
            "Decode in tiles",
            samples=graph.take("samples"),
            vae=graph.take("vae"),
            tile_size=512,
            overlap=64,
            temporal_size=64,
            temporal_overlap=8,
        )
    return to_template(
        graph,
        id="fragment-tiled-decode",
        title="Decode in tiles",
        task="tiled_decode",
        parameters={},
        ports={"image": decode[0]},
    )


def enlarge() -> Template:
    """An enlarging model, then exactly to a size."""
    graph = Graph()
    with graph.group("Enlarge"):
        loader = graph.add(
            "UpscaleModelLoader", "Load enlarger", model_name="kizy-enlarger-x4.safetensors"
        )
        larger = graph.add(
            "ImageUpscaleWithModel",
            "Enlarge",
            upscale_model=loader[0],
            image=graph.take("image"),
        )
        scaled = scale(graph, "Scale to final size", larger[0])
    return to_template(
        graph,
        id="fragment-enlarge",
        title="Enlarge with a model",
        task="enlarge",
        parameters={
            **places(loader, enlarger="model_name"),
            **places(scaled, width="width", height="height"),
        },
        ports={"image": scaled[0]},
    )


def resize() -> Template:
    """Exactly to a size, without a model."""
    graph = Graph()
    with graph.group("Picture"):
        scaled = scale(graph, "Scale to final size", graph.take("image"))
    return to_template(
        graph,
        id="fragment-resize",
        title="Scale to a size",
        task="resize",
        parameters=places(scaled, width="width", height="height"),
        ports={"image": scaled[0]},
    )
