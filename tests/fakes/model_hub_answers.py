"""Answers in the shapes of Civitai and Hugging Face, about models that do not exist."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from typing import Any

SDXL_LORA = {
    f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_{i}_attn2_to_k.{part}.weight": shape
    for i in range(4)
    for part, shape in (("lora_down", (8, 2048)), ("lora_up", (640, 8)))
}
SD15_CHECKPOINT = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}


def safetensors_bytes(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> bytes:
    """A right file of float16 tensors with some content."""
    header: dict[str, Any] = {}
    position = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    block = hashlib.sha256(str(seed).encode()).digest()
    data = (block * (position // len(block) + 1))[:position]
    return struct.pack("<Q", len(text)) + text + data


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def civitai_file(data: bytes, **changes: Any) -> dict[str, Any]:
    """One of `files`. `downloadUrl` names Civitai itself, as the real answers do."""
    return {
        "id": 7001,
        "sizeKB": len(data) / 1024,
        "name": "paper_lanterns_v2.safetensors",
        "type": "Model",
        "pickleScanResult": "Success",
        "pickleScanMessage": "No Pickle imports",
        "virusScanResult": "Success",
        "virusScanMessage": None,
        "scannedAt": "2025-11-02T10:31:14.120Z",
        "metadata": {"format": "SafeTensor", "size": None, "fp": None},
        "hashes": {
            "AutoV1": "0A1B2C3D",
            "AutoV2": digest(data)[:10].upper(),
            "SHA256": digest(data).upper(),
            "CRC32": "89ABCDEF",
        },
        "primary": True,
        "downloadUrl": "https://civitai.com/api/download/models/456",
        **changes,
    }


def civitai_version(*files: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """As GET /api/v1/model-versions/{id} answers."""
    return {
        "id": 456,
        "modelId": 123,
        "name": "v2.0",
        "nsfwLevel": 1,
        "createdAt": "2025-11-02T10:20:00.000Z",
        "updatedAt": "2025-11-02T10:40:00.000Z",
        "status": "Published",
        "publishedAt": "2025-11-02T10:41:00.000Z",
        "trainedWords": ["paper lantern style", "glowing paper,"],
        "trainingStatus": None,
        "trainingDetails": None,
        "baseModel": "Illustrious",
        "baseModelType": "Standard",
        "earlyAccessEndsAt": None,
        "earlyAccessConfig": None,
        "availability": "Public",
        "description": "<p>Softer light than v1.</p>",
        "uploadType": "Created",
        "usageControl": "Download",
        "air": "urn:air:sdxl:lora:civitai:123@456",
        "stats": {"downloadCount": 12, "thumbsUpCount": 3},
        "model": {"name": "Paper Lanterns", "type": "LORA", "nsfw": False, "poi": False},
        "files": list(files),
        "images": [
            {
                "url": "https://image.example/1.jpeg",
                "nsfwLevel": 1,
                "width": 832,
                "height": 1216,
                "type": "image",
                "hasMeta": True,
                "meta": {
                    "prompt": "a street of paper lanterns at dusk <lora:paper_lanterns_v2:0.8>",
                    "negativePrompt": "blurry",
                    "steps": 28,
                    "civitaiResources": [
                        {"type": "lora", "weight": 0.7, "modelVersionId": 456},
                        {"type": "checkpoint", "modelVersionId": 99},
                    ],
                },
            },
            {
                "url": "https://image.example/2.jpeg",
                "nsfwLevel": 8,
                "type": "image",
                "meta": {"prompt": "not for everyone"},
            },
            {"url": "https://image.example/3.jpeg", "nsfwLevel": 1, "type": "image", "meta": None},
        ],
        "downloadUrl": "https://civitai.com/api/download/models/456",
        **changes,
    }


def civitai_model(*versions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """As GET /api/v1/models/{id} answers: its versions repeat no model."""
    kept = [
        {key: value for key, value in version.items() if key not in ("model", "modelId")}
        for version in versions
    ]
    return {
        "id": 123,
        "name": "Paper Lanterns",
        "description": "<h2>Lanterns</h2><p>Recommended weight: <b>0.6 - 0.9</b>.</p>",
        "allowNoCredit": False,
        "allowCommercialUse": ["Image", "RentCivit"],
        "allowDerivatives": True,
        "allowDifferentLicense": False,
        "type": "LORA",
        "minor": False,
        "sfwOnly": False,
        "poi": False,
        "nsfw": False,
        "nsfwLevel": 1,
        "availability": "Public",
        "supportsGeneration": True,
        "creator": {"username": "lantern-maker", "image": None},
        "tags": ["style", "Lantern", "light"],
        "modelVersions": kept,
        **changes,
    }


def huggingface_model(repo: str, files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """As GET /api/models/{repo}?blobs=true answers. Small text files are not in LFS."""
    siblings = []
    for path, data in files.items():
        entry: dict[str, Any] = {"rfilename": path, "blobId": "b" * 40, "size": len(data)}
        if path.endswith(".safetensors"):
            entry["lfs"] = {"sha256": digest(data), "size": len(data), "pointerSize": 134}
        siblings.append(entry)
    return {
        "_id": "6" * 24,
        "id": repo,
        "modelId": repo,
        "author": repo.split("/")[0],
        "sha": "c" * 40,
        "lastModified": "2025-10-01T08:00:00.000Z",
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 5,
        "likes": 1,
        "tags": ["diffusers", "lora", "license:apache-2.0", "region:us"],
        "pipeline_tag": "text-to-image",
        "library_name": "diffusers",
        "cardData": {
            "license": "apache-2.0",
            "base_model": "stabilityai/stable-diffusion-xl-base-1.0",
            "instance_prompt": "paper lantern style",
        },
        "siblings": siblings,
        "spaces": [],
        "createdAt": "2025-10-01T07:00:00.000Z",
        "usedStorage": sum(map(len, files.values())),
        **changes,
    }
