"""(Plan, template, what a server has) -> the graph that draws one picture there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from .....catalog.families.family import Family
from .....core.errors import EngineError, InputError, PictureError, nearest
from .....core.plan import (
    EnlargeStage,
    ImproveStage,
    InputPicture,
    Plan,
    PlannedControl,
    SecondPassStage,
)
from .....language.prompt_syntax import parts
from .control import control_file
from .file_names import enlarger_name, find_name, first_of
from .library import fragment, missing_model, model_name, plan_family
from .mask_fragment import softness
from .missing import enlarger_missing, model_missing, node_missing
from .node_types import MODEL_FOLDERS
from .server_facts import ServerFacts
from .splice import Assembly
from .template import Template

SAMPLERS = ("KSampler",)
"""Node classes that sample, with their steps in the input `steps`."""

ENLARGER_SCALE = 4
"""What an enlarging model multiplies sides by; where it does less, the last scaling makes up."""

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Upload:
    """A picture that must lie on the server before the graph runs.

    `name`: as LoadImage takes it ("kizy/<sha256>.png"). `mask`: it is read as a mask.
    """

    picture: InputPicture
    name: str
    mask: bool = False


@dataclass(frozen=True)
class Compiled:
    """A graph in API format: id -> {"class_type", "inputs", "_meta": {"title", "group"}}.

    `outputs`: ids of the nodes whose files are the finished pictures. `samplers`: node id ->
    steps, for the progress. `template`: the template's id.
    """

    graph: dict[str, dict[str, Any]]
    outputs: tuple[str, ...]
    uploads: tuple[Upload, ...]
    samplers: Mapping[str, int]
    template: str


def compile_plan(
    plan: Plan,
    template: Template,
    server: ServerFacts,
    *,
    prefix: str = "Kizy/picture",
    tiled_decode: bool = False,
) -> Compiled:
    """The graph that draws the Plan's picture with the Plan's seed; its count is not looked at.

    Raises EngineError `server_node_missing`, `server_model_missing` or `template_invalid`;
    InputError `feature_unavailable`, or `request_invalid` for a sampler that is not there or a
    name that fits several files; PictureError `mask_unusable`.
    """
    family = plan_family(plan)
    if template.family not in (None, family.id):
        message = f"{template.id} draws {template.family}, but the plan says {family.id}."
        raise EngineError("template_invalid", message)
    return _Compiler(plan, template, family, server).compile(prefix, tiled_decode)


class _Compiler:
    """One compilation."""

    def __init__(self, plan: Plan, template: Template, family: Family, server: ServerFacts) -> None:
        self._plan, self._template = plan, template
        self._family, self._server = family, server
        self._uploads: dict[str, Upload] = {}

    def compile(self, prefix: str, tiled_decode: bool) -> Compiled:
        plan = self._plan
        second_passes, enlargements = _stages(plan)
        if plan.mask is not None and plan.start is None:
            raise PictureError("mask_unusable", "A mask needs the picture that it lies on.")
        self._require(self._template)
        work = Assembly.begin(self._template, self._base_values(prefix))
        self._further_parts(work)
        self._loras(work)
        if plan.start is not None:
            picture = self._upload(plan.start.picture)
            size = {"width": plan.width, "height": plan.height}
            self._splice(work, "start", {"picture": picture, **size})
            if self._family.comfyui.reference:
                self._splice(work, "reference", {})
            if not plan.draws:
                # The picture is worked on as it is: nothing that samples is needed any more.
                work.hand_through("image", "start")
        for control in plan.controls:
            self._control(work, control)
        size = self._second_passes(work, second_passes)
        if tiled_decode:
            self._splice(work, "tiled-decode", {})
        self._enlarge(work, enlargements, size)
        if plan.mask is not None:
            self._mask(work)
        graph = work.pruned()
        return Compiled(
            graph=graph,
            outputs=work.outputs,
            uploads=tuple(self._uploads.values()),
            samplers={
                key: node["inputs"]["steps"]
                for key, node in graph.items()
                if node["class_type"] in SAMPLERS and node["inputs"]["denoise"] > 0
            },
            template=self._template.id,
        )

    def _base_values(self, prefix: str) -> dict[str, Any]:
        plan = self._plan
        strength = plan.start.strength if plan.start is not None else 1.0
        steps, denoise = drawn_steps(plan.steps, strength)
        values: dict[str, Any] = {
            "model": self._model(),
            **self._companions(),
            "prompt": self._parts(plan.prompt)[0],
            "width": plan.width,
            "height": plan.height,
            "seed": plan.seed,
            "steps": steps,
            "sampler": self._choice("sampler", plan.sampler),
            "scheduler": self._choice("scheduler", plan.scheduler),
            "denoise": denoise,
            "prefix": prefix,
        }
        # Not every family reads a negative prompt or is guided.
        may = {"negative": self._parts(plan.negative)[0], "guidance": plan.guidance}
        known = self._template.parameters
        return {**values, **{name: value for name, value in may.items() if name in known}}

    def _model(self) -> str:
        found = find_name(model_name(self._plan, self._family), self._listed("model"))
        if found is None:
            raise missing_model(self._plan, self._family, self._server)
        return found

    def _companions(self) -> dict[str, str]:
        """Text encoders and VAE, where the template loads them by themselves."""
        split = self._family.comfyui.split
        if split is None:
            return {}
        files = {f"text_encoder_{i}": name for i, name in enumerate(split.text_encoders, start=1)}
        files["vae"] = split.vae
        values: dict[str, str] = {}
        for parameter, name in files.items():
            if parameter not in self._template.parameters:
                continue
            listed = self._listed(parameter)
            found = first_of((name, *split.alternatives.get(name, ())), listed)
            if found is None:
                what = "VAE" if parameter == "vae" else "text encoder"
                folder = MODEL_FOLDERS[self._input_of(parameter)]
                raise model_missing(self._server, what, name, listed, folder, self._family)
            values[parameter] = found
        return values

    def _parts(self, prompt: str) -> tuple[str, ...]:
        """What BREAK parts, which to ComfyUI itself is a word: encoded one by one."""
        return parts(prompt) if self._family.long_prompts == "rows" else (prompt,)

    def _further_parts(self, work: Assembly) -> None:
        for port, prompt in (("positive", self._plan.prompt), ("negative", self._plan.negative)):
            for words in self._parts(prompt)[1:]:
                self._splice(work, f"part-{port}", {"words": words})

    def _loras(self, work: Assembly) -> None:
        for lora in self._plan.loras:
            self._require(fragment("lora"))
            listed = self._server.choices("LoraLoader", "lora_name")
            found = find_name(lora.file.name, listed)
            if found is None:
                raise model_missing(self._server, "LoRA", lora.file.name, listed, "loras")
            weights = {"model_weight": lora.model_weight, "clip_weight": lora.clip_weight}
            self._splice(work, "lora", {"lora": found, **weights})

    def _control(self, work: Assembly, control: PlannedControl) -> None:
        self._require(fragment("control"))
        file = control_file(control.kind, self._family, self._server)
        facts = self._family.comfyui.control
        values = {
            "picture": self._upload(control.picture),
            "width": self._plan.width,
            "height": self._plan.height,
            "control_net": file.name,
            "strength": control.strength,
            "start": control.start,
            "end": control.end,
        }
        if file.union_type is not None:
            self._splice(work, "control-union", {**values, "union_type": file.union_type})
        else:
            vae = facts is not None and facts.vae
            self._splice(work, "control-vae" if vae else "control", values)

    def _second_passes(
        self, work: Assembly, stages: tuple[SecondPassStage, ...]
    ) -> tuple[int, int]:
        """Adds them; gives width and height of what is decoded, in pixels."""
        plan, multiple = self._plan, self._family.multiple
        width, height = plan.width, plan.height
        for stage in stages:
            width = multiple * max(1, round(width * stage.factor / multiple))
            height = multiple * max(1, round(height * stage.factor / multiple))
            steps, denoise = drawn_steps(stage.steps, stage.strength)
            values = {
                "width": width,
                "height": height,
                "seed": plan.seed,
                "steps": steps,
                "cfg": plan.guidance if self._family.guidance_kind == "cfg" else 1.0,
                "sampler": plan.sampler,
                "scheduler": plan.scheduler,
                "denoise": denoise,
            }
            self._splice(work, "second-pass", values)
        return width, height

    def _enlarge(
        self, work: Assembly, stages: tuple[EnlargeStage, ...], size: tuple[int, int]
    ) -> None:
        """Enlarging models, and the exact size that was planned."""
        final = (self._plan.output_width, self._plan.output_height)
        for index, stage in enumerate(stages):
            self._require(fragment("enlarge"))
            name = enlarger_name(self._server, stage.model.name)
            if name is None:
                listed = self._server.choices("UpscaleModelLoader", "model_name")
                raise enlarger_missing(self._server, stage.model.name, listed)
            last = index + 1 == len(stages)
            grown = (round(size[0] * stage.factor), round(size[1] * stage.factor))
            size = final if last else grown
            for width, height in _sizes_on_the_way(size, stage.factor):
                values = {"enlarger": name, "width": width, "height": height}
                self._splice(work, "enlarge", values)
        if size != final:
            self._splice(work, "resize", {"width": final[0], "height": final[1]})

    def _mask(self, work: Assembly) -> None:
        plan, factor = self._plan, self._family.latent_factor
        if plan.mask is None:
            return
        width, height = plan.output_width, plan.output_height
        values: dict[str, Any] = {
            "picture": self._upload(plan.mask.picture, mask=True),
            "width": width,
            "height": height,
            "latent_width": max(1, plan.width // factor),
            "latent_height": max(1, plan.height // factor),
        }
        if plan.mask.feather <= 0:
            self._splice(work, "mask", values)
            return
        soft = softness(width, height, plan.mask.feather)
        values |= {
            "small_width": soft.width,
            "small_height": soft.height,
            "erode": soft.erode,
            "reach": soft.reach,
            "radius": soft.radius,
            "sigma": soft.sigma,
        }
        self._splice(work, "mask-soft", values)

    def _splice(self, work: Assembly, name: str, values: Mapping[str, Any]) -> None:
        part = fragment(name)
        self._require(part)
        work.splice(part, values)

    def _require(self, template: Template) -> None:
        for node_class in template.requires.nodes:
            if not self._server.has(node_class):
                raise node_missing(self._server, node_class)

    def _choice(self, parameter: str, value: str) -> str:
        """A sampler or scheduler that the server knows."""
        listed = self._listed(parameter)
        if value not in listed:
            message = f'{self._server.address} has no {parameter} "{value}". '
            raise InputError("request_invalid", message + nearest(value, listed))
        return value

    def _listed(self, parameter: str) -> tuple[str, ...]:
        return self._server.choices(*self._input_of(parameter))

    def _input_of(self, parameter: str) -> tuple[str, str]:
        """(node class, input) that a parameter of the template goes to."""
        if not self._template.parameters.get(parameter):
            message = f"{self._template.id} has no parameter {parameter}."
            raise EngineError("template_invalid", message)
        node, _, name = self._template.parameters[parameter][0].partition(".")
        return self._template.graph[node].class_type, name

    def _upload(self, picture: InputPicture, *, mask: bool = False) -> str:
        """The picture's name on the server, and a note that it has to be there."""
        extension = PurePath(picture.path).suffix.lower()
        extension = extension if extension in _EXTENSIONS else ".png"
        # The same file may be picture and mask, and lie there in two forms.
        name = f"kizy/{picture.sha256}{'-mask' if mask else ''}{extension}"
        self._uploads.setdefault(name, Upload(picture, name, mask))
        return name


def drawn_steps(steps: int, strength: float) -> tuple[int, float]:
    """(steps, denoise) for KSampler that draw the share `strength` of a schedule of `steps`.

    KSampler makes a schedule of int(steps / denoise) and draws its last `steps` (comfy/samplers.py,
    KSampler.set_steps); the embedded engine draws the last round(steps * strength) of `steps`. So
    both draw the same ones. The denoise is the strength itself where that works out.
    """
    if strength <= 0:
        return steps, 0.0
    drawn = max(1, min(steps, round(steps * strength)))
    if drawn == steps:
        return steps, 1.0
    middle = drawn / (steps + 0.5)
    tries = [round(strength, 4), *(round(middle, digits) for digits in range(2, 8)), middle]
    return drawn, next(d for d in tries if d > 0 and int(drawn / d) == steps)


def _stages(plan: Plan) -> tuple[tuple[SecondPassStage, ...], tuple[EnlargeStage, ...]]:
    """Second passes and enlargements. Raises InputError `feature_unavailable`."""
    second: list[SecondPassStage] = []
    enlarge: list[EnlargeStage] = []
    for stage in plan.stages:
        if isinstance(stage, ImproveStage):
            # The engine does it, with a graph for each part: see engines/comfy/improving.py.
            message = f"Improving {stage.what} takes more than one graph."
            raise InputError("feature_unavailable", message)
        if isinstance(stage, SecondPassStage):
            if enlarge:
                message = "A second pass comes before enlarging, not behind it."
                raise InputError("feature_unavailable", message)
            second.append(stage)
        elif isinstance(stage, EnlargeStage):
            enlarge.append(stage)
    return tuple(second), tuple(enlarge)


def _sizes_on_the_way(target: tuple[int, int], factor: float) -> list[tuple[int, int]]:
    """The size behind each run of the enlarger: above 4 times it runs more than once."""
    sizes = [target]
    while factor > ENLARGER_SCALE:
        width, height = sizes[0]
        sizes.insert(0, (-(-width // ENLARGER_SCALE), -(-height // ENLARGER_SCALE)))
        factor /= ENLARGER_SCALE
    return sizes
