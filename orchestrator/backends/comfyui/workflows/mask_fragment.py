"""The mask: only what is painted white is drawn anew, the rest stays bit for bit.

It does what imaging/blend.py does, with ComfyUI's own nodes. The border is softened inwards: the
area is eroded by some pixels and blurred evenly by as many, so its weight grows from 0 at the
border to 1 at twice that depth. Parts that are too narrow for that keep their full weight.
As there, a wide border is worked out on a smaller copy, and the last fifth of it is full.
"""

from __future__ import annotations

from dataclasses import dataclass

from .build import to_template
from .fragments import BLACK, PICTURE, on_ground, places, scale
from .graph import Graph, Node, Output
from .template import Template

RAMP_STEPS = 12
"""A soft border is worked out in about this many pixels; as in imaging/blend.py."""


@dataclass(frozen=True)
class Softness:
    """The numbers of a soft border for a feather of some pixels.

    `width`, `height`: of the copy that it is worked out on. `erode` (pixels there) is what the
    core lacks at each side, `reach` how far from the core nothing counts as narrow; `radius` and
    `sigma` are the blur's: against its radius the sigma is so large that all pixels count alike.
    """

    width: int
    height: int
    erode: int
    reach: int
    radius: int
    sigma: float


def softness(width: int, height: int, feather: int) -> Softness:
    """For a picture of that size in pixels; `feather` at least 1."""
    reduced = max(1, round(feather / RAMP_STEPS))
    # ImageBlur mirrors the picture at its edges: it needs more pixels than its radius.
    small = max(2, -(-width // reduced)), max(2, -(-height // reduced))
    half = min(max(1, round(0.4 * feather / reduced)), min(small) - 1)
    return Softness(
        width=small[0],
        height=small[1],
        erode=-half,
        reach=2 * half + 1,
        radius=half,
        sigma=10.0,
    )


def mask(*, soft: bool) -> Template:
    """`soft`: with a soft border inside the painted area."""
    graph = Graph()
    with graph.group("Mask"):
        load = graph.add("LoadImage", "Mask", image=PICTURE)
        opaque = on_ground(graph, "Mask on black", load, BLACK, "Black")
        sized = scale(graph, "Scale mask to the picture", opaque, "bilinear")
        # Green is nearest to how bright a colour looks.
        grey = graph.add("ImageToMask", "Brightness", image=sized[0], channel="green")
        # 127.5 of 255: from 128 on a mask counts as white (core/picture_files.py).
        painted = graph.add("ThresholdMask", "Painted area", mask=grey[0], value=0.5)
        area, parameters = painted[0], {}
        if soft:
            area, parameters = _softened(graph, painted[0])
        small = graph.add("MaskToImage", "Mask as picture", mask=area)
        shrunk = scale(graph, "Scale mask to the latent", small[0], "area")
        latent_mask = graph.add("ImageToMask", "Mask of the latent", image=shrunk[0], channel="red")
        masked = graph.add(
            "SetLatentNoiseMask",
            "Draw only inside the mask",
            samples=graph.take("latent"),
            mask=latent_mask[0],
        )
        original = scale(graph, "Start picture at final size", graph.take("start"))
        result = graph.add(
            "ImageCompositeMasked",
            "Keep all outside the mask",
            destination=original[0],
            source=graph.take("image"),
            x=0,
            y=0,
            resize_source=False,
            mask=area,
        )
    width = [sized.place("width"), original.place("width"), *parameters.pop("width", ())]
    height = [sized.place("height"), original.place("height"), *parameters.pop("height", ())]
    return to_template(
        graph,
        id="fragment-mask-soft" if soft else "fragment-mask",
        title="Mask with a soft border" if soft else "Mask",
        task="mask",
        parameters={
            **places(load, picture="image"),
            "width": tuple(width),
            "height": tuple(height),
            **places(shrunk, latent_width="width", latent_height="height"),
            **parameters,
        },
        ports={"latent": masked[0], "image": result[0]},
    )


def _softened(graph: Graph, painted: Output) -> tuple[Output, dict[str, tuple[str, ...]]]:
    """The painted area with a soft border inside, and the parameters of that."""
    small = graph.add("MaskToImage", "Painted area as picture", mask=painted)
    reduced = scale(graph, "Smaller copy", small[0], "area")
    rough = graph.add("ImageToMask", "Smaller mask", image=reduced[0], channel="red")
    area = graph.add("ThresholdMask", "Smaller painted area", mask=rough[0], value=0.0)
    core = graph.add("GrowMask", "Core", mask=area[0], expand=-4, tapered_corners=False)
    near = graph.add("GrowMask", "Around the core", mask=core[0], expand=9, tapered_corners=False)
    narrow = _combined(graph, "Narrow parts", area[0], near[0], "subtract")
    core_picture = graph.add("MaskToImage", "Core as picture", mask=core[0])
    blurred = graph.add("ImageBlur", "Soften", image=core_picture[0], blur_radius=4, sigma=2.0)
    ramp = graph.add("ImageToMask", "Soft core", image=blurred[0], channel="red")
    both = _combined(graph, "Soft core and narrow parts", ramp[0], narrow[0], "add")
    both_picture = graph.add("MaskToImage", "Soft area as picture", mask=both[0])
    full = scale(graph, "Full size again", both_picture[0], "bilinear")
    soft = graph.add("ImageToMask", "Soft area", image=full[0], channel="red")
    inside = _combined(graph, "Nothing outside the painted area", soft[0], painted, "multiply")
    return inside[0], {
        "width": (full.place("width"),),
        "height": (full.place("height"),),
        **places(reduced, small_width="width", small_height="height"),
        **places(core, erode="expand"),
        **places(near, reach="expand"),
        **places(blurred, radius="blur_radius", sigma="sigma"),
    }


def _combined(graph: Graph, title: str, first: Output, second: Output, operation: str) -> Node:
    return graph.add(
        "MaskComposite", title, destination=first, source=second, x=0, y=0, operation=operation
    )
