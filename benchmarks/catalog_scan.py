"""How long it takes to look through a library of LoRAs: python -m benchmarks.catalog_scan

Makes N files with headers as trainers write them (their tensors are holes on the disk), then scans
them with an empty index and again with a full one. Peer: a bare loop that opens each file and reads
its header with json. With --distinct no two files have the same tensors, which no library is like.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

Module = tuple[str, int, int]
"""Name without suffix, input width, output width."""

_DEPTHS = {
    "input": ((4, 2), (5, 2), (7, 10), (8, 10)),
    "output": ((0, 10), (1, 10), (2, 10), (3, 2), (4, 2), (5, 2)),
}
"""Side of SDXL's UNet -> (block, how many transformers it has)."""

_TAGS = [f"tag number {i}" for i in range(2000)]


def sd15() -> Iterator[Module]:
    """264 modules: the UNet's attention and the text encoder, as sd-scripts trains them."""
    for place, width in (
        *((f"down_blocks_{b}_attentions_{a}", 320 << b) for b in range(3) for a in range(2)),
        ("mid_block_attentions_0", 1280),
        *((f"up_blocks_{b}_attentions_{a}", 1280 >> (b - 1)) for b in (1, 2, 3) for a in range(3)),
    ):
        yield from _transformer(f"lora_unet_{place}", 1, width, 768)
    yield from _clip("lora_te_", 12, 768)


def sdxl() -> Iterator[Module]:
    """986 modules: the UNet's attention and both text encoders."""
    for side, blocks in _DEPTHS.items():
        for block, depth in blocks:
            width = 1280 if depth == 10 else 640
            yield from _transformer(f"lora_unet_{side}_blocks_{block}_1", depth, width, 2048)
    yield from _transformer("lora_unet_middle_block_1", 10, 1280, 2048)
    yield from _clip("lora_te1_", 12, 768)
    yield from _clip("lora_te2_", 32, 1280)


def flux() -> Iterator[Module]:
    """304 modules of the transformer."""
    for i in range(19):
        for part in ("img", "txt"):
            name = f"lora_unet_double_blocks_{i}_{part}"
            yield f"{name}_attn_proj", 3072, 3072
            yield f"{name}_attn_qkv", 3072, 9216
            yield f"{name}_mlp_0", 3072, 12288
            yield f"{name}_mlp_2", 12288, 3072
            yield f"{name}_mod_lin", 3072, 18432
    for i in range(38):
        yield f"lora_unet_single_blocks_{i}_linear1", 3072, 21504
        yield f"lora_unet_single_blocks_{i}_linear2", 15360, 3072
        yield f"lora_unet_single_blocks_{i}_modulation_lin", 3072, 9216


def sd35() -> Iterator[Module]:
    """The attention and feed-forward parts of 38 blocks."""
    for i in range(38):
        for part in ("context", "x"):
            name = f"lora_unet_joint_blocks_{i}_{part}_block"
            yield f"{name}_attn_qkv", 2432, 7296
            yield f"{name}_attn_proj", 2432, 2432
            yield f"{name}_mlp_fc1", 2432, 9728
            yield f"{name}_mlp_fc2", 9728, 2432


FAMILIES: tuple[tuple[Callable[[], Iterator[Module]], int], ...] = (
    (sdxl, 45),
    (sd15, 30),
    (flux, 20),
    (sd35, 5),
)
"""With shares in percent."""


def main() -> None:
    """Print files, bytes of headers, seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the files are made, and stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        size = make_library(folder / "loras", options.files, options.distinct)
        print(f"{options.files:,} files, {size / options.files / 1e3:.0f} KB of header each")
        measure(folder)


def measure(folder: Path) -> None:
    """Peer, cold scan, warm scan, and reading the cards."""
    from kizy.catalog.index.folders import LoraFolder
    from kizy.catalog.index.lora_index import Index

    loras = folder / "loras"
    (folder / "catalog.sqlite").unlink(missing_ok=True)
    peer = _seconds(lambda: bare_loop(loras))
    print(f"bare loop over the headers with json: {_told(peer)}")
    index = Index(folder / "catalog.sqlite")
    folders = [LoraFolder(loras)]
    cold = _seconds(lambda: index.scan(folders))
    warm = _seconds(lambda: index.scan(folders))
    cards = _seconds(index.cards)
    print(f"cold: {_told(cold)}: {cold[0] / peer[0]:.2f} of the bare loop")
    print(f"warm: {_told(warm)}; all cards from the index: {_told(cards)}")


def bare_loop(folder: Path) -> int:
    """What every other program does: read each header, parse it, keep nothing."""
    found = 0
    for at, _, names in os.walk(folder):
        for name in names:
            with (Path(at) / name).open("rb") as file:
                found += len(json.loads(file.read(struct.unpack("<Q", file.read(8))[0])))
    return found


def make_library(folder: Path, files: int, distinct: bool) -> int:
    """Write the files into folders of a hundred; returns the bytes of all headers."""
    rng = random.Random(4)
    makers = [make for make, _ in FAMILIES]
    shares = [share for _, share in FAMILIES]
    modules = {make: tuple(make()) for make in makers}
    layouts: dict[Any, tuple[str, int]] = {}
    written = 0
    for i in range(files):
        make = rng.choices(makers, shares)[0]
        rank, dtype = rng.choice((4, 8, 16, 32, 64, 128)), rng.choice(("F16", "BF16"))
        key = (make, rank, dtype)
        if distinct or key not in layouts:
            ranks = (rank, rng.randrange(1, 400)) if distinct else (rank, rank)
            layouts[key] = tensors(modules[make], ranks, dtype)
        text, length = layouts[key]
        header = json.dumps({"__metadata__": metadata(rng, i, rank)}, separators=(",", ":"))
        data = (header[:-1] + "," + text + "}").encode()
        path = folder / f"{i // 100:03}" / f"lora_{i:06}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(data)) + data)
            file.truncate(8 + len(data) + length)
        written += len(data)
    return written


def tensors(modules: tuple[Module, ...], ranks: tuple[int, int], dtype: str) -> tuple[str, int]:
    """The tensors' part of a header, and the bytes of their data. The last module has ranks[1]."""
    entries, position = [], 0
    for at, (name, inputs, outputs) in enumerate(modules):
        rank = ranks[at == len(modules) - 1]
        for part, shape in (
            ("alpha", ()),
            ("lora_down.weight", (rank, inputs)),
            ("lora_up.weight", (outputs, rank)),
        ):
            end = position + 2 * math.prod(shape)
            entry = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
            entries.append(f'"{name}.{part}":' + json.dumps(entry, separators=(",", ":")))
            position = end
    return ",".join(entries), position


def metadata(rng: random.Random, number: int, rank: int) -> dict[str, str]:
    """As sd-scripts writes it, 300 tags of a data set included."""
    name = f"lora number {number}"
    tags = {tag: rng.randrange(1, 50) for tag in rng.sample(_TAGS, 300)}
    return {
        "modelspec.title": name,
        "modelspec.description": f"What the LoRA with the number {number} is for.",
        "ss_output_name": name.replace(" ", "_"),
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank / 2),
        "ss_network_module": "networks.lora",
        "ss_tag_frequency": json.dumps({f"10_trigger{number}": {f"trigger{number}": 90, **tags}}),
        "ss_dataset_dirs": json.dumps({f"10_trigger{number}": {"n_repeats": 10, "img_count": 9}}),
        "sshs_model_hash": f"{rng.getrandbits(256):064x}",
    }


def _transformer(name: str, depth: int, width: int, context: int) -> Iterator[Module]:
    for i in range(depth):
        block = f"{name}_transformer_blocks_{i}"
        for attention, inputs in (("attn1", width), ("attn2", context)):
            yield f"{block}_{attention}_to_q", width, width
            yield f"{block}_{attention}_to_k", inputs, width
            yield f"{block}_{attention}_to_v", inputs, width
            yield f"{block}_{attention}_to_out_0", width, width
        yield f"{block}_ff_net_0_proj", width, 8 * width
        yield f"{block}_ff_net_2", 4 * width, width
    yield f"{name}_proj_in", width, width
    yield f"{name}_proj_out", width, width


def _clip(prefix: str, layers: int, width: int) -> Iterator[Module]:
    for i in range(layers):
        layer = f"{prefix}text_model_encoder_layers_{i}"
        yield f"{layer}_mlp_fc1", width, 4 * width
        yield f"{layer}_mlp_fc2", 4 * width, width
        for part in ("k", "out", "q", "v"):
            yield f"{layer}_self_attn_{part}_proj", width, width


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of computing."""
    clock, computing = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - computing


def _told(seconds: tuple[float, float]) -> str:
    return f"{seconds[0]:.2f} s ({seconds[1]:.2f} s of computing)"


if __name__ == "__main__":
    main()
