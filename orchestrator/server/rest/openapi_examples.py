"""Examples of the OpenAPI document; tests check each of them against its schema."""

from __future__ import annotations

from typing import Any

from .parameters import EXAMPLE_FILE_ID, EXAMPLE_JOB_ID

GENERATIONS: dict[str, Any] = {
    "prompt_alone": {
        "summary": "A sentence is enough",
        "value": {"prompt": "a red fox on a blue background"},
    },
    "chosen": {
        "summary": "Model, style, size and number of pictures",
        "value": {
            "prompt": "a lighthouse in a storm",
            "model": "starter",
            "style": "cartoon",
            "size": "square",
            "count": 4,
            "seed": 7,
        },
    },
    "edited": {
        "summary": "A part of an uploaded picture is drawn anew",
        "value": {
            "prompt": "a red heart",
            "start": {"picture": EXAMPLE_FILE_ID},
            "mask": {"picture": EXAMPLE_FILE_ID},
        },
    },
}

TRAINING: dict[str, Any] = {
    "name": "Mimi the cat",
    "about": "a grey tabby",
    "files": [EXAMPLE_FILE_ID],
}

PLAN: dict[str, Any] = {
    "version": 1,
    "engine": "embedded",
    "request_prompt": "a red fox on a blue background",
    "prompt": "a red fox on a blue background, 3d render",
    "negative": "",
    "family": "starter",
    "model": {"name": "starter", "path": None, "sha256": None},
    "loras": [],
    "style": "3d",
    "width": 128,
    "height": 128,
    "output_width": 512,
    "output_height": 512,
    "count": 1,
    "seed": 7,
    "steps": 20,
    "guidance": 4.0,
    "sampler": "euler",
    "scheduler": "simple",
    "stages": [{"kind": "draw"}],
    "reasons": [{"choice": "style", "value": "3d", "why": "you named none"}],
}

JOB: dict[str, Any] = {
    "id": EXAMPLE_JOB_ID,
    "kind": "generation",
    "state": "queued",
    "owner": "local",
    "priority": 0,
    "title": "a red fox on a blue background",
    "request": {"prompt": "a red fox on a blue background"},
    "plan": PLAN,
    "training": None,
    "paused": False,
    "progress": 0.0,
    "doing": "",
    "left": 6.5,
    "place": 1,
    "created": "2026-11-21T12:00:00Z",
    "started": None,
    "ended": None,
    "deadline": None,
    "attempts": 0,
    "error": None,
    "notices": [],
    "artifacts": [],
    "from_store": False,
    "retry_of": None,
    "links": {
        "self": f"/v1/jobs/{EXAMPLE_JOB_ID}",
        "events": f"/v1/jobs/{EXAMPLE_JOB_ID}/events",
        "cancel": f"/v1/jobs/{EXAMPLE_JOB_ID}",
        "retry": f"/v1/jobs/{EXAMPLE_JOB_ID}/retry",
        "artifacts": [],
    },
}

ARTIFACT: dict[str, Any] = {
    "id": EXAMPLE_FILE_ID,
    "index": 0,
    "kind": "picture",
    "name": "20261121-120006-a-red-fox-7.png",
    "media_type": "image/png",
    "bytes": 312480,
    "width": 512,
    "height": 512,
    "seed": 7,
    "gone": False,
}

DONE: dict[str, Any] = JOB | {
    "state": "succeeded",
    "progress": 1.0,
    "left": None,
    "place": None,
    "started": "2026-11-21T12:00:00Z",
    "ended": "2026-11-21T12:00:06Z",
    "attempts": 1,
    "artifacts": [ARTIFACT],
    "links": JOB["links"] | {"artifacts": [f"/v1/artifacts/{EXAMPLE_FILE_ID}"]},
}

UPLOAD: dict[str, Any] = {
    "id": EXAMPLE_FILE_ID,
    "name": "card.png",
    "media_type": "image/png",
    "bytes": 204800,
    "width": 512,
    "height": 512,
}

QUEUE: dict[str, Any] = {"paused": False, "waiting": 3, "running": 1, "limit": 1000}

MODEL: dict[str, Any] = {
    "name": "starter",
    "family": "starter",
    "title": "Kizy's starter",
    "where": ["here"],
}

LORA: dict[str, Any] = {
    "name": "ink-drawing",
    "family": "sdxl",
    "about": "Black ink on paper.",
    "triggers": ["ink style"],
    "tags": ["ink", "drawing"],
    "weight": 0.8,
    "score": 0.91,
}

STYLE: dict[str, Any] = {"id": "cartoon", "words": "cartoon", "families": ["starter", "sdxl"]}

FAMILY: dict[str, Any] = {
    "id": "starter",
    "title": "Kizy's starter",
    "licence": "Apache-2.0",
    "sizes": {"square": "512x512"},
    "installed": True,
}

TEMPLATE: dict[str, Any] = {
    "id": "sdxl-checkpoint",
    "title": "SDXL: a picture from words",
    "task": "text_to_image",
    "family": "sdxl",
}

SERVER: dict[str, Any] = {
    "name": "gpu1",
    "kind": "comfyui",
    "state": "ready",
    "version": "0.3.64",
    "device": "NVIDIA RTX 4090",
    "queue": 0,
    "url": None,
}

IMAGE_REQUEST: dict[str, Any] = {
    "prompt": "a red fox on a blue background",
    "n": 1,
    "size": "1024x1024",
    "response_format": "b64_json",
}

IMAGES: dict[str, Any] = {
    "created": 1795262400,
    "background": "opaque",
    "output_format": "png",
    "data": [{"b64_json": "iVBORw0KGgo=", "revised_prompt": "a red fox, 3d render"}],
}

EVENT: dict[str, Any] = {
    "event": "end",
    "id": "12",
    "data": f'{{"kind": "end", "job_id": "{EXAMPLE_JOB_ID}", "state": "succeeded"}}',
}


def example(value: Any) -> dict[str, Any]:
    """What a response with this JSON has as its `content`, beside the schema."""
    return {"content": {"application/json": {"example": value}}}
