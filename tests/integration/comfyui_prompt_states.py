"""What ComfyUI's own code makes of prompts, with a small CLIP of random weights.

    cd COMFYUI && COMFYUI_PYTHON comfyui_prompt_states.py CONFIG.json WEIGHTS PROMPTS.json TARGET

Runs in ComfyUI's environment. TARGET gets the states of each prompt: as SD 1.5 reads CLIP
("last.N") and as SDXL reads both of its encoders ("hidden.N", and what is pooled, "pooled.N").
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(config: Path, weights: Path, prompts: Path, target: Path) -> None:
    sys.argv = [sys.argv[0], "--cpu"]
    sys.path.insert(0, str(Path.cwd()))
    import comfy.options

    comfy.options.enable_args_parsing()
    import torch
    from comfy.sd1_clip import SDClipModel, SDTokenizer
    from safetensors.torch import load_file, save_file

    shape = json.loads(config.read_text())
    tensors = load_file(weights)

    def encoder(pad: int, **more: object) -> SDClipModel:
        special = {"start": 49406, "end": 49407, "pad": pad}
        made = SDClipModel(
            textmodel_json_config=dict(shape), special_tokens=special, dtype=torch.float32, **more
        )
        made.load_sd(tensors)
        return made

    penultimate = {"layer": "hidden", "layer_idx": -2, "layer_norm_hidden_state": False}
    ends, zeros = SDTokenizer(), SDTokenizer(pad_with_end=False)
    last, hidden, second = encoder(49407), encoder(49407, **penultimate), encoder(0, **penultimate)
    found = {}
    for number, prompt in enumerate(json.loads(prompts.read_text())):
        with torch.no_grad():
            rows = ends.tokenize_with_weights(prompt)
            found[f"last.{number}"] = last.encode_token_weights(rows)[0]
            first = hidden.encode_token_weights(rows)[0]
            other, pooled = second.encode_token_weights(zeros.tokenize_with_weights(prompt))
        found[f"hidden.{number}"] = torch.cat([first, other], -1)
        found[f"pooled.{number}"] = pooled
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, target)


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:5]))
