"""The workflows for ComfyUI's template browser: graphs with few nodes, and notes that explain them.

A person reads and runs these; the orchestrator draws with the templates of build.py instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...catalog.families.family import Family, SourceFile, load_families
from ...orchestrator.backends.comfyui.workflows.build import sampling
from ...orchestrator.backends.comfyui.workflows.file_names import ENLARGER_FILE
from ...orchestrator.backends.comfyui.workflows.fragments import PICTURE
from ...orchestrator.backends.comfyui.workflows.graph import Graph, Node, Output
from .bundled_notes import (
    CHOOSE_NOTE,
    CONTROL_NOTE,
    ENLARGE_NOTE,
    FACES_NOTE,
    FIRST_NOTE,
    FLUX_NOTE,
    FLUX_PROMPT,
    IMAGE_NOTE,
    INPAINT_NOTE,
    SDXL_NOTE,
    SDXL_PROMPT,
    TRAIN_NOTE,
)
from .ui_format import Note, download_address

SEED = 1
"""Of the first run; every run after it draws a new one."""

EDGES = "canny/lineart/anime_lineart/mlsd"
"""What SetUnionControlNetType calls maps of edges."""


@dataclass
class Bundled:
    """A workflow under the name that the template browser shows; frames are numbered by `step`."""

    name: str
    family: Family
    note: str
    graph: Graph = field(default_factory=Graph)
    files: Sequence[SourceFile] = ()
    _steps: int = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A numbered frame for the nodes that are added inside."""
        self._steps += 1
        with self.graph.group(f"{self._steps}. {title}"):
            yield

    @property
    def notes(self) -> tuple[Note, ...]:
        """What to do, and the files that have to be downloaded."""
        text = _unwrapped(self.note)
        if self.files:
            lines = (f"- {_source(file)}" for file in self.files)
            text += "\n\n**Files that it needs**\n\n" + "\n".join(lines)
            text += "\n\nRestart ComfyUI, or press R, when they are there."
        return (Note("Read me first", text),)

    def load(self) -> Node:
        """The family's checkpoint: model, CLIP, VAE."""
        facts = self.family.comfyui.checkpoint
        if facts is None:
            raise ValueError(f"{self.family.id} has no checkpoint")
        loader = "CheckpointLoaderSimple"
        return self.graph.add(loader, "Load checkpoint", ckpt_name=facts.file)

    def prompts(self, clip: Output, text: str) -> tuple[Output, Output]:
        """Positive and negative."""
        encode = "CLIPTextEncode"
        positive = self.graph.add(encode, "Prompt: what to draw", text=text, clip=clip)
        if not self.family.negative_prompt:
            zero = "ConditioningZeroOut"
            none = self.graph.add(zero, "No negative prompt", conditioning=positive[0])
            return positive[0], none[0]
        negative = self.graph.add(encode, "Negative prompt: what to avoid", text="", clip=clip)
        return positive[0], negative[0]

    def size(self) -> Output:
        """An empty latent of the family's own size."""
        facts = self.family
        return self.graph.add(
            facts.comfyui.latent_node,
            "Size of the picture",
            width=facts.native_width,
            height=facts.native_height,
            batch_size=1,
        )[0]

    def picture(self, title: str = "Your picture") -> Node:
        """A picture from ComfyUI's input folder."""
        return self.graph.add("LoadImage", title, image=PICTURE)

    def fit(self, image: Output, crop: str = "center") -> Output:
        """A picture at the family's own size."""
        return self.graph.add(
            "ImageScale",
            "Fit to drawing size",
            image=image,
            upscale_method="lanczos",
            width=self.family.native_width,
            height=self.family.native_height,
            crop=crop,
        )[0]

    def encode(self, image: Output, vae: Output) -> Output:
        """A picture as the latent that sampling begins with."""
        return self.graph.add("VAEEncode", "Encode picture", pixels=image, vae=vae)[0]

    def sample(
        self,
        model: Output,
        prompts: tuple[Output, Output],
        latent: Output,
        vae: Output,
        denoise: float = 1.0,
    ) -> Output:
        """Draw and decode."""
        drawn = self.graph.add(
            "KSampler",
            "Draw (KSampler)",
            model=model,
            seed=SEED,
            positive=prompts[0],
            negative=prompts[1],
            latent_image=latent,
            denoise=denoise,
            **sampling(self.family),
        )
        return self.graph.add("VAEDecode", "Decode picture", samples=drawn[0], vae=vae)[0]

    def load_enlarger(self) -> Output:
        """The one that the pack brings."""
        return self.graph.add("UpscaleModelLoader", "Load enlarger", model_name=ENLARGER_FILE)[0]

    def enlarge(self, enlarger: Output, image: Output) -> Output:
        """4 times."""
        node_class = "ImageUpscaleWithModel"
        return self.graph.add(node_class, "Enlarge 4 times", upscale_model=enlarger, image=image)[0]

    def keep(self, image: Output) -> None:
        """The finished picture, with Kizy's Plan inside."""
        prefix = "Kizy/picture"
        self.graph.add("KizySave", "Kizy Save", images=image, filename_prefix=prefix)

    def save(self, image: Output) -> None:
        """The finished picture."""
        prefix = "Kizy/picture"
        self.graph.add("SaveImage", "Save picture", images=image, filename_prefix=prefix)


def bundled_workflows() -> list[Bundled]:
    """All of them."""
    return [
        first_picture(),
        text_to_image("sdxl", "Text to image with SDXL", SDXL_NOTE, SDXL_PROMPT),
        text_to_image("flux1-schnell", "Text to image with FLUX.1-schnell", FLUX_NOTE, FLUX_PROMPT),
        image_to_image(),
        inpaint(),
        controlnet(),
        enlarge(),
        choose_loras(),
        train_lora(),
        fix_faces(),
    ]


def first_picture() -> Bundled:
    """Text to a picture with the starter."""
    work = _begin("starter", "First picture", FIRST_NOTE)
    with work.step("Models"):
        checkpoint = work.load()
        enlarger = work.load_enlarger()
    with work.step("What you want"):
        prompts = work.prompts(checkpoint[1], "a red fox on a blue background, 3d render")
        latent = work.size()
    with work.step("Draw"):
        drawn = work.sample(checkpoint[0], prompts, latent, checkpoint[2])
    with work.step("Enlarge and save"):
        work.save(work.enlarge(enlarger, drawn))
    return work


def text_to_image(family: str, name: str, note: str, prompt: str) -> Bundled:
    """Text to a picture with a family's own checkpoint."""
    work = _begin(family, name, note, "checkpoints")
    with work.step("Model"):
        checkpoint = work.load()
    with work.step("What you want"):
        prompts = work.prompts(checkpoint[1], prompt)
        latent = work.size()
    with work.step("Draw"):
        drawn = work.sample(checkpoint[0], prompts, latent, checkpoint[2])
    with work.step("Save"):
        work.save(drawn)
    return work


def image_to_image() -> Bundled:
    """The starter draws over a picture."""
    work = _begin("starter", "Image to image", IMAGE_NOTE)
    with work.step("Models"):
        checkpoint = work.load()
        enlarger = work.load_enlarger()
    with work.step("Picture to start from"):
        fitted = work.fit(work.picture()[0])
    with work.step("What you want"):
        prompts = work.prompts(checkpoint[1], "a woman on a green background, flat sticker")
    with work.step("Draw"):
        latent = work.encode(fitted, checkpoint[2])
        drawn = work.sample(checkpoint[0], prompts, latent, checkpoint[2], denoise=0.6)
    with work.step("Enlarge and save"):
        work.save(work.enlarge(enlarger, drawn))
    return work


def inpaint() -> Bundled:
    """The starter draws where the picture was painted over; all else stays bit for bit."""
    work = _begin("starter", "Inpaint", INPAINT_NOTE)
    with work.step("Models"):
        checkpoint = work.load()
        enlarger = work.load_enlarger()
    with work.step("Picture to paint on"):
        loaded = work.picture("Your picture, with the mask")
        # Not cropped: the mask lies on the whole picture.
        fitted = work.fit(loaded[0], crop="disabled")
    with work.step("What you want there"):
        prompts = work.prompts(checkpoint[1], "a balloon on a blue background, flat sticker")
    with work.step("Draw inside the mask"):
        latent = work.encode(fitted, checkpoint[2])
        masked = work.graph.add(
            "SetLatentNoiseMask", "Draw only where painted", samples=latent, mask=loaded[1]
        )
        drawn = work.sample(checkpoint[0], prompts, masked[0], checkpoint[2])
    with work.step("Put it into your picture"):
        whole = work.graph.add(
            "ImageCompositeMasked",
            "Keep the rest as it was",
            destination=loaded[0],
            source=work.enlarge(enlarger, drawn),
            x=0,
            y=0,
            resize_source=True,
            mask=loaded[1],
        )
        work.save(whole[0])
    return work


def controlnet() -> Bundled:
    """The edges of a picture lead what SDXL draws."""
    work = _begin("sdxl", "ControlNet with SDXL", CONTROL_NOTE, "checkpoints", "controlnet")
    name = next(file.name for file in work.files if file.folder == "controlnet")
    with work.step("Models"):
        checkpoint = work.load()
        net = work.graph.add("ControlNetLoader", "Load ControlNet", control_net_name=name)
    with work.step("Picture that leads"):
        fitted = work.fit(work.picture()[0])
    with work.step("What you want"):
        prompts = work.prompts(
            checkpoint[1], "a wooden doll with yellow hair on a green hill, soft morning light"
        )
        latent = work.size()
    with work.step("Lead by edges"):
        told = work.graph.add(
            "SetUnionControlNetType", "What it reads: edges", control_net=net[0], type=EDGES
        )
        edges = work.graph.add(
            "Canny", "Find edges", image=fitted, low_threshold=0.1, high_threshold=0.3
        )
        led = work.graph.add(
            "ControlNetApplyAdvanced",
            "Apply ControlNet",
            positive=prompts[0],
            negative=prompts[1],
            control_net=told[0],
            image=edges[0],
            strength=0.7,
            start_percent=0.0,
            end_percent=0.8,
        )
        work.graph.add("PreviewImage", "The edges", images=edges[0])
    with work.step("Draw"):
        drawn = work.sample(checkpoint[0], (led[0], led[1]), latent, checkpoint[2])
    with work.step("Save"):
        work.save(drawn)
    return work


def enlarge() -> Bundled:
    """A picture at 4 times its sides."""
    work = _begin("starter", "Enlarge", ENLARGE_NOTE)
    with work.step("Model"):
        enlarger = work.load_enlarger()
    with work.step("Picture to enlarge"):
        loaded = work.picture()
    with work.step("Enlarge and save"):
        work.save(work.enlarge(enlarger, loaded[0]))
    return work


def choose_loras() -> Bundled:
    """Kizy picks the LoRAs that fit the prompt, and says why."""
    work = _begin("starter", "Choose my LoRAs", CHOOSE_NOTE)
    with work.step("Models"):
        checkpoint = work.load()
        enlarger = work.load_enlarger()
    with work.step("What you want"):
        chosen = work.graph.add(
            "KizyLoraByIntent",
            "Kizy LoRA by Intent",
            model=checkpoint[0],
            clip=checkpoint[1],
            prompt="a red fox on a blue background, 3d render",
            scope="everything",
            how_many=3,
            strength=1.0,
            pinned="",
            only="",
            adult=False,
        )
        encode = "CLIPTextEncode"
        positive = work.graph.add(
            encode, "Prompt and trigger words", text=chosen[2], clip=chosen[1]
        )
        negative = work.graph.add(encode, "Negative prompt: what to avoid", text="", clip=chosen[1])
        latent = work.size()
    with work.step("Draw"):
        drawn = work.sample(chosen[0], (positive[0], negative[0]), latent, checkpoint[2])
    with work.step("Enlarge and save"):
        work.keep(work.enlarge(enlarger, drawn))
    return work


def train_lora() -> Bundled:
    """Pictures and a name become a LoRA."""
    work = _begin("starter", "Train a LoRA from photos", TRAIN_NOTE)
    with work.step("Your pictures"):
        trained = work.graph.add(
            "KizyTrainLora",
            "Kizy Train LoRA",
            name="",
            about="",
            files="",
            base="auto",
            goal="auto",
            quality="balanced",
            steps=0,
        )
    with work.step("How it went"):
        work.graph.add("PreviewImage", "Samples", images=trained[2])
        work.graph.add("PreviewImage", "Loss", images=trained[1])
    return work


def fix_faces() -> Bundled:
    """The faces of a picture are drawn again."""
    work = _begin("starter", "Fix faces", FACES_NOTE)
    with work.step("Model"):
        checkpoint = work.load()
    with work.step("Picture to improve"):
        loaded = work.picture()
    with work.step("What its faces are like"):
        prompts = work.prompts(checkpoint[1], "a smiling face, 3d render")
    with work.step("Draw faces again"):
        detailed = work.graph.add(
            "KizyDetailer",
            "Kizy Detailer",
            image=loaded[0],
            model=checkpoint[0],
            clip=checkpoint[1],
            vae=checkpoint[2],
            positive=prompts[0],
            negative=prompts[1],
            what="faces",
            amount="normal",
            seed=SEED,
            prompts="",
            steps=0,
            cfg=0.0,
            sampler="as the model likes it",
            scheduler="as the model likes it",
            detector="Kizy",
        )
        work.graph.add("PreviewImage", "What was found", images=detailed[2])
    with work.step("Save"):
        work.keep(detailed[0])
    return work


def _begin(family: str, name: str, note: str, *folders: str) -> Bundled:
    """`folders`: below `models/`; the first of the family's files in each has to be there."""
    facts = load_families()[family]
    needed = [next(file for file in facts.files if file.folder == folder) for folder in folders]
    return Bundled(name, facts, note, files=needed)


def _source(file: SourceFile) -> str:
    return f"[{file.name}]({download_address(file)}) into `models/{file.folder}`"


def _unwrapped(text: str) -> str:
    """Each paragraph and each list item in one line: the page keeps line breaks."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        begins = not line or line[0].isdigit() or line[0] == "-"
        if begins or not lines or not lines[-1]:
            lines.append(line)
        else:
            lines[-1] += " " + line.strip()
    return "\n".join(lines)
