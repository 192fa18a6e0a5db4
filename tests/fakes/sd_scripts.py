"""A folder like sd-scripts', whose scripts train nothing, and a Python that launches them.

Its files have the names, and its log the form, of the real ones: `loss/current` and
`loss/validation/step_average` in a TensorBoard file, NAME-step00000010.safetensors, states.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SCRIPT = """
import json, struct, sys, time, zipfile
from pathlib import Path

words = sys.argv[1:]
def option(name, default=None):
    return words[words.index(name) + 1] if name in words else default

here = Path(__file__).parent
how = json.loads((here / "how.json").read_text())
(here / "called.json").write_text(json.dumps(words))
if how["say"]:
    print(how["say"], flush=True)
    raise SystemExit(1)
out, name = Path(option("--output_dir")), option("--output_name")
steps, every = int(option("--max_train_steps")), int(option("--save_every_n_steps"))
logs = Path(option("--logging_dir")) / str(time.time_ns()) / "network_train"
logs.mkdir(parents=True)
log = (logs / f"events.out.tfevents.{time.time_ns()}").open("ab")

def varint(n):
    found = b""
    while n > 127:
        found, n = found + bytes([n & 127 | 128]), n >> 7
    return found + bytes([n])

def scalar(step, tag, value):
    text = tag.encode()
    inner = b"\\x0a" + varint(len(text)) + text + b"\\x15" + struct.pack("<f", value)
    summary = b"\\x0a" + varint(len(inner)) + inner
    event = b"\\x09" + struct.pack("<d", 0.0) + b"\\x10" + varint(step)
    event += b"\\x2a" + varint(len(summary)) + summary
    log.write(struct.pack("<Q", len(event)) + bytes(4) + event + bytes(4))
    log.flush()

def save(path):
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    shapes = {".lora_down.weight": [4, 768], ".lora_up.weight": [320, 4], ".alpha": []}
    header, at = {"__metadata__": {"ss_network_dim": "4", "ss_base_model_version": "sd_v1"}}, 0
    for end, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[stem + end] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))

resumed = option("--resume")
first = 0
if resumed:
    first = json.loads((Path(resumed) / "train_state.json").read_text())["current_step"]
total = checks = 0
for step in range(first + 1, steps + 1):
    time.sleep(how["pause"])
    scalar(step, "loss/current", how["losses"].get(str(step), 1 / step))
    scalar(step, "loss/average", 1.0)
    scalar(step, "lr/unet", 1e-4)
    if step % every == 0:
        save(out / f"{name}-step{step:08d}.safetensors")
        state = out / f"{name}-step{step:08d}-state"
        state.mkdir()
        (state / "train_state.json").write_text(json.dumps({"current_step": step}))
        with zipfile.ZipFile(state / "random_states_0.pkl", "w") as file:
            file.writestr("x", "y")
    if "--validate_every_n_steps" in words and step % int(option("--validate_every_n_steps")) == 0:
        checks, total = checks + 1, total + how["checks"].get(str(step), 0.5)
        scalar(step, "loss/validation/step_average", total / checks)
    if step == how["die"] and not resumed:
        raise SystemExit("ValueError: no more pencils")
save(out / f"{name}.safetensors")
"""

_PYTHON = """#!{python}
import os, sys
words = sys.argv[1:]
if words[:2] == ["-m", "accelerate.commands.launch"]:
    script = next(i for i, word in enumerate(words) if word.endswith(".py"))
    words = words[script:]
os.execv({python!r}, [{python!r}, *words])
"""


def make_sd_scripts(folder: Path) -> tuple[Path, Path]:
    """(its folder, the interpreter)."""
    folder.mkdir(parents=True)
    for name in ("train_network", "sdxl_train_network", "sd3_train_network", "flux_train_network"):
        (folder / f"{name}.py").write_text(_SCRIPT)
    tell(folder)
    python = folder / "python"
    python.write_text(_PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    return folder, python


def tell(
    folder: Path,
    *,
    say: str = "",
    die: int = 0,
    pause: float = 0.0,
    losses: dict[str, float] | None = None,
    checks: dict[str, float] | None = None,
) -> None:
    """How the next training goes."""
    import json

    how = {"say": say, "die": die, "pause": pause, "losses": losses or {}, "checks": checks or {}}
    (folder / "how.json").write_text(json.dumps(how))
