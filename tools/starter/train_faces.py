"""Train the finder of drawn faces (imaging/drawn_faces.py) on the starter's own renders.

    python -m kizy.tools.starter.train_faces --packages FOLDER [--steps 2500] [--photos FOLDER]

`--photos`: pictures without faces, as backgrounds; none of them has to be given.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from ...imaging.drawn_faces import BLOCKS, PYRAMID, STEM, STEP, TAKEN, WEIGHTS_FILE
from . import renders
from .face_scenes import Scene, SceneMaker, cast

log = logging.getLogger(__name__)

SIDE = 256
"""Of the training pictures, in pixels."""

BATCH = 12
LEARNING_RATE = 2e-3

NEW = 4
"""Scenes that are made for each step; the others were seen before."""

KEPT = 3000
"""Scenes to see again."""


class Layer(nn.Module):
    """A convolution with batch normalisation, which `folded` takes into its weights."""

    def __init__(
        self, ins: int, outs: int, kernel: int, stride: int = 1, *, groups: int = 1
    ) -> None:
        super().__init__()
        pad = kernel // 2
        self.conv = nn.Conv2d(ins, outs, kernel, stride, pad, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None
        factor = self.norm.weight / torch.sqrt(variance + self.norm.eps)
        return self.conv.weight * factor[:, None, None, None], self.norm.bias - mean * factor


class Finder(nn.Module):
    """The network of imaging/drawn_faces.py, for training."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Layer(3, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        ins = STEM
        for features, stride in BLOCKS:
            parts = {
                "depth": Layer(ins, ins, 3, stride, groups=ins),
                "project": Layer(ins, features, 1),
            }
            self.blocks.append(nn.ModuleDict(parts))
            ins = features
        self.pyramid = nn.ModuleList(Layer(BLOCKS[index][0], PYRAMID, 1) for index in TAKEN)
        self.head = nn.ModuleDict(
            {
                "depth": Layer(PYRAMID, PYRAMID, 3, groups=PYRAMID),
                "project": Layer(PYRAMID, PYRAMID, 1),
            }
        )
        self.heat = nn.Conv2d(PYRAMID, 1, 1)
        self.size = nn.Conv2d(PYRAMID, 2, 1)
        self.offset = nn.Conv2d(PYRAMID, 2, 1)
        # A face is rare: without this, the first steps only learn that.
        nn.init.constant_(self.heat.bias, -4.0)  # pyright: ignore[reportArgumentType]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, sizes and offsets of pixels in 0 to 255."""
        x = functional.relu(self.stem(x / 127.5 - 1))
        taken = []
        for index, (block, (features, stride)) in enumerate(zip(self.blocks, BLOCKS, strict=True)):
            inner = functional.relu(block["depth"](x))  # pyright: ignore[reportIndexIssue]
            inner = functional.relu(block["project"](inner))  # pyright: ignore[reportIndexIssue]
            x = inner + x if stride == 1 and features == x.shape[1] else inner
            if index in TAKEN:
                taken.append(x)
        x = self.pyramid[2](taken[2])
        for level in (1, 0):
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = functional.relu(x + self.pyramid[level](taken[level]))
        x = functional.relu(self.head["depth"](x))
        x = functional.relu(self.head["project"](x))
        return self.heat(x)[:, 0], self.size(x), self.offset(x)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights as imaging/drawn_faces.py names them, normalisation folded in."""
        found: dict[str, torch.Tensor] = {}
        for name, module in self.named_modules():
            if isinstance(module, Layer):
                weight, bias = module.folded()
            elif name in ("heat", "size", "offset"):
                assert isinstance(module, nn.Conv2d) and module.bias is not None
                weight, bias = module.weight, module.bias
            else:
                continue
            if name.endswith("depth"):
                weight = weight[:, 0]
            elif weight.shape[-1] == 1:
                weight = weight[:, :, 0, 0]
            found[f"{name}.weight"] = weight.detach().half().contiguous()
            found[f"{name}.bias"] = bias.detach().half().contiguous()
        return found


def targets(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heat (h x w), sizes and offsets (4 x h x w), and where those count (h x w)."""
    points = SIDE // STEP
    heat = np.zeros((points, points), np.float32)
    values = np.zeros((4, points, points), np.float32)
    counts = np.zeros((points, points), np.float32)
    rows, columns = np.mgrid[:points, :points]
    for left, top, right, bottom in scene.boxes:
        high, wide = bottom - top, right - left
        if high < 6 or wide < 6:
            continue
        y, x = (top + bottom) / 2 / STEP, (left + right) / 2 / STEP
        row, column = min(int(y), points - 1), min(int(x), points - 1)
        # As CornerNet and CenterNet (Zhou et al., 2019): near misses count less.
        spread = max(0.6, 0.09 * math.sqrt(high * wide) / STEP)
        near = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * spread**2))
        heat = np.maximum(heat, near.astype(np.float32))
        close = near > 0.6
        shares = (np.log(high / STEP), np.log(wide / STEP))
        for channel, share in enumerate(shares):
            values[channel][close] = share
        values[2][close] = (y - rows)[close]
        values[3][close] = (x - columns)[close]
        counts[close] = 1
        heat[row, column] = 1
    return heat, values, counts


def loss(
    outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    wanted: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """CenterNet's: focal on the heat, absolute differences on sizes and offsets."""
    logits, sizes, offsets = outputs
    heat, values, counts = wanted
    likely = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    middle = heat == 1
    hits = ((1 - likely) ** 2 * likely.log())[middle].sum()
    misses = ((1 - heat) ** 4 * likely**2 * (1 - likely).log())[~middle].sum()
    focal = -(hits + misses) / middle.sum().clamp(min=1)
    apart = (torch.cat([sizes, offsets], 1) - values).abs().sum(1) * counts
    return focal + apart.sum() / counts.sum().clamp(min=1)


def train(packages: Path, steps: int, photos: list[np.ndarray], target: Path) -> None:
    """Train anew and write the weights."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    drawn = renders.load(packages, 256)
    maker = SceneMaker(drawn, cast(drawn, packages, held_out=False), SIDE, photos)
    model, rng = Finder(), random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    recent = 0.0
    kept: list[Scene] = []
    for step in range(1, steps + 1):
        kept = [*kept[-KEPT:], *(maker.make(rng) for _ in range(NEW))]
        scenes = [*kept[-NEW:], *rng.choices(kept, k=BATCH - NEW)]
        pixels = np.stack([scene.pixels for scene in scenes]).transpose(0, 3, 1, 2)
        wanted = [np.stack(part) for part in zip(*map(targets, scenes), strict=True)]
        heat, values, counts = (torch.from_numpy(part) for part in wanted)
        value = loss(model(torch.from_numpy(pixels.copy()).float()), (heat, values, counts))
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        schedule.step()
        recent += (value.item() - recent) / min(step, 100)
        if step % 50 == 0:
            log.info("step %d: loss %.3f", step, recent)
        if step % 500 == 0 or step == steps:
            target.parent.mkdir(exist_ok=True)
            metadata = {"license": "Apache-2.0", "source": "tools/starter/train_faces.py"}
            save_file(model.tensors(), target, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="the npm packages")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--photos", type=Path, help="pictures without faces")
    parser.add_argument("--target", type=Path, default=WEIGHTS_FILE)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    renders.install_packages(options.packages)
    files = sorted(options.photos.glob("*.*")) if options.photos else []
    photos = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    train(options.packages, options.steps, photos, options.target)


if __name__ == "__main__":
    main()
