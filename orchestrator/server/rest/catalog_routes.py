"""What there is to ask for: models, LoRAs, styles, families, templates, servers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from ....catalog.index.name_lookup import Listed, Names
from ....core.errors import UnknownNameError, nearest
from ...service import (
    FamilyInfo,
    LoraInfo,
    ModelInfo,
    ServerInfo,
    StyleInfo,
    TemplateInfo,
)
from .auth import Asking
from .openapi_examples import FAMILY, LORA, MODEL, SERVER, STYLE, TEMPLATE, example
from .openapi_responses import problems
from .parameters import TEXT
from .problems import Refused
from .responses import PREFIX, ModelList, answer, list_values

router = APIRouter(prefix=PREFIX, tags=["catalog"])


class LoraList(BaseModel):
    loras: tuple[LoraInfo, ...]


class StyleList(BaseModel):
    styles: tuple[StyleInfo, ...]


class FamilyList(BaseModel):
    families: tuple[FamilyInfo, ...]


class TemplateList(BaseModel):
    templates: tuple[TemplateInfo, ...]


class ServerList(BaseModel):
    servers: tuple[ServerInfo, ...]


@router.get(
    "/models",
    operation_id="list_models",
    summary="List models",
    response_description="All models, twice.",
    response_model=ModelList,
    responses=problems()
    | {
        200: example(
            {
                "object": "list",
                "data": [
                    MODEL
                    | {"id": "starter", "object": "model", "created": 0, "owned_by": "kizy"}
                ],
                "models": [MODEL],
            }
        )
    },
)  # fmt: skip
def list_models(asking: Asking) -> Response:
    """Models that a request can name; `data` has them as OpenAI's clients expect it."""
    found = asking.service.models()
    return answer(
        {
            "object": "list",
            "data": [_as_openai(one) for one in found],
            "models": list_values(found),
        }
    )


@router.get(
    "/models/{name:path}",
    operation_id="show_model",
    summary="Show a model",
    response_description="The model.",
    responses=problems("model_unknown") | {200: example(MODEL)},
    include_in_schema=False,
)
def show_model(name: str, asking: Asking) -> Response:
    """As OpenAI's clients ask for one model."""
    found = {one.name: one for one in asking.service.models()}
    known = Names(Listed(key=one, file=one) for one in found).the(name, "model")
    if known is None:
        message = f'No model is called "{name[:200]}". {nearest(name[:200], found)}'.strip()
        raise Refused(UnknownNameError("model_unknown", message), 404)
    return answer(_as_openai(found[known.key]))


@router.get(
    "/loras",
    operation_id="list_loras",
    summary="List LoRAs, or find them by what they are for",
    response_description="All by name, or those that fit best, best first.",
    response_model=LoraList,
    responses=problems("family_unknown", "request_invalid") | {200: example({"loras": [LORA]})},
)
def list_loras(
    asking: Asking,
    query: Annotated[
        str, Query(description="What you look for.", max_length=1000, pattern=TEXT,
                   examples=["ink drawing"])
    ] = "",
    family: Annotated[
        str | None, Query(description="Of this family alone.", max_length=100, pattern=TEXT)
    ] = None,
) -> Response:  # fmt: skip
    """Their weights and trigger words are applied by themselves when they are picked."""
    return _list("loras", asking.service.loras(query, family))


@router.get(
    "/styles",
    operation_id="list_styles",
    summary="List styles",
    response_description="All styles.",
    response_model=StyleList,
    responses=problems() | {200: example({"styles": [STYLE]})},
)
def list_styles(asking: Asking) -> Response:
    """Styles that a request can name, and the families that know each."""
    return _list("styles", asking.service.styles())


@router.get(
    "/families",
    operation_id="list_families",
    summary="List model families",
    response_description="All families.",
    response_model=FamilyList,
    responses=problems() | {200: example({"families": [FAMILY]})},
)
def list_families(asking: Asking) -> Response:
    """Families that Kizy draws, with their sizes and licences."""
    return _list("families", asking.service.families())


@router.get(
    "/templates",
    operation_id="list_templates",
    summary="List workflow templates",
    response_description="All templates.",
    response_model=TemplateList,
    responses=problems() | {200: example({"templates": [TEMPLATE]})},
)
def list_templates(asking: Asking) -> Response:
    """Workflows that requests are drawn with on ComfyUI."""
    return _list("templates", asking.service.templates())


@router.get(
    "/servers",
    operation_id="list_servers",
    summary="List where is drawn",
    response_description="This process, and all ComfyUI servers.",
    response_model=ServerList,
    responses=problems() | {200: example({"servers": [SERVER]})},
)
def list_servers(asking: Asking) -> Response:
    """Asks each server, so it takes as long as the slowest; a few seconds at most."""
    return _list("servers", asking.service.servers())


def _list(name: str, infos: Any) -> Response:
    return answer({name: list_values(infos)})


def _as_openai(model: ModelInfo) -> dict[str, Any]:
    more = {"id": model.name, "object": "model", "created": 0, "owned_by": "kizy"}
    return model.model_dump(mode="json") | more
