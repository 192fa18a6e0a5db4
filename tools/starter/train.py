"""Train the starter and its enlarger from the npm packages to the committed weights.

    python -m kizy.tools.starter.train --folder runs --stage all

Every stage is seeded and goes on where it was stopped; those that train log their losses to
`<folder>/<stage>/log.jsonl`. On a CPU one worker for each core, of one thread each, is fastest:

    OMP_NUM_THREADS=1 python -m kizy.tools.starter.train --folder runs --stage unet --workers 2

| stage | makes |
|---|---|
| renders | the emoji of four npm packages as RGBA pictures (npm is asked for them) |
| autoencoder | `autoencoder/autoencoder.safetensors` |
| latents | `latents/shard-*.safetensors`: pictures as latents, captions as token states |
| unet | `unet/unet.safetensors` |
| decoder | `decoder/autoencoder.safetensors`: the decoder trained on, the latents unchanged |
| enlarger | `enlarger/enlarger.safetensors` |
| export | both files below `weights/` in this room |

To train the committed weights on, begin in a new folder with `--stage unpack` in the place of
`renders` and `autoencoder`; then `latents`, `unet --unet-from FILE` with the committed checkpoint,
`export`. The autoencoder's encoder must stay as it is: the UNet speaks its latents.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...starter import checkpoint
from ...starter.architecture import build_autoencoder
from ...starter.checkpoint import ENLARGER_FILE, STARTER_FILE, StarterWeights, pack
from ...starter.concepts import taught
from . import latents, renders, train_autoencoder, train_enlarger, train_unet
from .runs import load_tensors, placed, save_tensors
from .train_autoencoder import AutoencoderSettings
from .train_enlarger import EnlargerSettings
from .train_unet import UNetSettings

UNPACK = "unpack"
STAGES = ("renders", "autoencoder", "latents", "unet", "decoder", "enlarger", "export")
RENDER_SIZE = 256


@dataclass(frozen=True)
class Training:
    """One training: where it lies, what is taught, and how long each stage takes."""

    folder: Path
    packages: Path
    everyday_only: bool
    shards: int
    autoencoder: AutoencoderSettings
    unet: UNetSettings
    enlarger: EnlargerSettings
    autoencoder_from: Path | None
    unet_from: Path | None
    enlarger_from: Path | None
    device: str = "cpu"

    @property
    def labels(self) -> frozenset[str]:
        return taught(everyday_only=self.everyday_only)

    @property
    def autoencoder_file(self) -> Path:
        return self.folder / "autoencoder/autoencoder.safetensors"

    @property
    def best_autoencoder_file(self) -> Path:
        """With the decoder that was trained on, once it is there."""
        later = self.folder / "decoder/autoencoder.safetensors"
        return later if later.exists() else self.autoencoder_file

    @property
    def _scale_file(self) -> Path:
        return self.folder / "scale.json"

    def renders(self) -> renders.Renders:
        return renders.load(self.packages, RENDER_SIZE)

    def run(self, stage: str) -> None:
        """Run `UNPACK` or one of `STAGES`."""
        getattr(self, f"_{stage}")()

    def _renders(self) -> None:
        renders.install_packages(self.packages)
        self.renders()

    def _unpack(self) -> None:
        """Autoencoder and scale out of the committed weights."""
        self._renders()
        weights = checkpoint.load()
        save_tensors(self.autoencoder_file, weights.autoencoder, {"from": STARTER_FILE.name})
        self._scale_file.write_text(json.dumps(weights.latent_scale))

    def _autoencoder(self) -> None:
        train_autoencoder.train(
            self.renders(),
            self.folder / "autoencoder",
            self.autoencoder,
            self.autoencoder_from,
            self.device,
        )

    def _latents(self) -> None:
        model = build_autoencoder()
        model.load_state_dict(load_tensors(self.autoencoder_file)[0])
        model = placed(model, self.device).eval()
        for index in range(self.shards):
            folder = self.folder / "latents"
            latents.make_shard(self.renders(), self.labels, model, folder, index)

    def _unet(self) -> None:
        data = latents.load_shards(self.folder / "latents")
        train_unet.train(
            data, self.scale(), self.folder / "unet", self.unet, self.unet_from, self.device
        )

    def _decoder(self) -> None:
        train_autoencoder.train(
            self.renders(),
            self.folder / "decoder",
            replace(self.autoencoder, decoder_only=True),
            self.autoencoder_file,
            self.device,
        )

    def _enlarger(self) -> None:
        hidden = train_enlarger.labels(self.renders())
        large = renders.load(self.packages, train_enlarger.TARGET_SIZE, hidden)
        train_enlarger.train(
            large,
            self.best_autoencoder_file,
            self.folder / "enlarger",
            self.enlarger,
            self.enlarger_from,
            self.device,
        )

    def _export(self) -> None:
        unet, metadata = load_tensors(self.folder / "unet/unet.safetensors")
        step, steps = metadata["step"], metadata["steps"]
        if int(step) < int(steps):
            raise SystemExit(f"The UNet is at step {step} of {steps}: train it to its end first.")
        autoencoder, _ = load_tensors(self.best_autoencoder_file)
        scale = float(metadata["scale"])
        weights = StarterWeights(unet, autoencoder, scale, self.preview_map(scale))
        tensors, facts = pack(weights)
        save_tensors(STARTER_FILE, tensors, facts)
        enlarger = self.folder / "enlarger/enlarger.safetensors"
        if enlarger.exists():
            shutil.copyfile(enlarger, ENLARGER_FILE)

    def scale(self) -> float:
        """What the latents are multiplied by: settled by the first shards, then kept."""
        if not self._scale_file.exists():
            scale = latents.load_shards(self.folder / "latents")[0].scale
            self._scale_file.write_text(json.dumps(scale))
        return float(json.loads(self._scale_file.read_text()))

    def preview_map(self, scale: float) -> list[list[float]]:
        """Least squares from scaled latents to the 8x8 means of their pictures, in 0 to 1."""
        model = build_autoencoder()
        model.load_state_dict(load_tensors(self.best_autoencoder_file)[0])
        pixels = train_autoencoder.to_tensor(train_autoencoder.pool(self.renders(), 64, seed=2))
        with torch.inference_mode():
            z = model.encoder(pixels) * scale
        means = torch.nn.functional.avg_pool2d(pixels / 2 + 0.5, 8)
        rows = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        inputs = torch.cat([rows, torch.ones(len(rows), 1)], 1)
        colors = means.permute(0, 2, 3, 1).reshape(-1, 3)
        return torch.linalg.lstsq(inputs, colors).solution.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="where runs are kept")
    parser.add_argument("--packages", type=Path, help="npm folder; default: <folder>/packages")
    parser.add_argument("--stage", choices=("all", UNPACK, *STAGES), default="all")
    parser.add_argument("--concepts", choices=("everyday", "all"), default="everyday")
    parser.add_argument("--shards", type=int, default=latents.ALL_SHARDS, help="of latents")
    parser.add_argument("--autoencoder-steps", type=int, default=6000)
    parser.add_argument("--unet-steps", type=int, default=20_000)
    parser.add_argument("--unet-batch", type=int, default=8, help="pictures a worker and step")
    parser.add_argument("--enlarger-steps", type=int, default=8000)
    parser.add_argument("--autoencoder-batch", type=int, default=4, help="crops a worker and step")
    parser.add_argument("--autoencoder-from", type=Path, help="weights to begin with")
    parser.add_argument("--unet-from", type=Path, help="weights to begin with")
    parser.add_argument("--enlarger-from", type=Path, help="weights to begin with")
    parser.add_argument("--workers", type=int, default=1, help="threads that share a step")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 (see runs.py)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    shared = {"seed": options.seed, "workers": options.workers, "bf16": options.bf16}
    training = Training(
        folder=options.folder,
        packages=options.packages or options.folder / "packages",
        everyday_only=options.concepts == "everyday",
        shards=options.shards,
        autoencoder=AutoencoderSettings(
            steps=options.autoencoder_steps, batch=options.autoencoder_batch, **shared
        ),
        unet=UNetSettings(steps=options.unet_steps, batch=options.unet_batch, **shared),
        enlarger=EnlargerSettings(steps=options.enlarger_steps, **shared),
        autoencoder_from=options.autoencoder_from,
        unet_from=options.unet_from,
        enlarger_from=options.enlarger_from,
        device=options.device,
    )
    for stage in STAGES if options.stage == "all" else (options.stage,):
        training.run(stage)


if __name__ == "__main__":
    main()
