"""`kizy loras ...` and `kizy models ...`: parses, and hands over."""

from __future__ import annotations

from typing import Annotated

import typer

loras = typer.Typer(
    help="List, find, get and check LoRAs; say which a prompt gets.",
    rich_markup_mode=None,
)
models = typer.Typer(
    help="List, find, get and check models; say which a prompt gets.",
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Family = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only this family, such as sdxl or pony.")
]
Words = Annotated[list[str], typer.Argument(metavar="WORDS", help="Any words about it.")]
Prompt = Annotated[str, typer.Argument(help="What you want to see.")]
Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS|FILE", help="A page on Civitai or Hugging Face, an id, or a file."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Download without asking.")]
Adult = Annotated[bool, typer.Option("--adult", help="Adult content may come this time.")]


@loras.callback(invoke_without_command=True)
def list_loras(context: typer.Context, family: Family = None, json_: Json = False) -> None:
    if context.invoked_subcommand is None:
        from . import loras as page

        page.loras(family=family, as_json=json_)


@loras.command("search")
def search_loras(words: Words, family: Family = None, json_: Json = False) -> None:
    """Find LoRAs by what they draw, or by part of a name."""
    from . import loras as page

    page.search(" ".join(words), family=family, as_json=json_)


@loras.command("why")
def why_loras(
    prompt: Prompt,
    family: Family = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="For this model instead of your own.")
    ] = None,
    most: Annotated[
        int | None, typer.Option("--max", metavar="N", help="Combine at most so many.")
    ] = None,
    folder: Annotated[
        list[str] | None, typer.Option(help="Pick from this folder; give it again for more.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Pick from those with this tag; again for more.")
    ] = None,
    json_: Json = False,
) -> None:
    """Say which LoRAs a prompt would get, and why these."""
    from . import loras as page

    wanted = page.Wanted(family, model, most, tuple(folder or ()), tuple(tag or ()))
    page.why(prompt, wanted=wanted, as_json=json_)


@loras.command("add")
def add_lora(address: Address, yes: Yes = False, adult: Adult = False, json_: Json = False) -> None:
    """Get a LoRA: shows what it is and asks before anything is downloaded."""
    from . import add as page

    page.add(address, kind="lora", view=page.View(yes, adult, json_))


@loras.command("check")
def check_lora(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, or a LoRA's name.")],
    json_: Json = False,
) -> None:
    """Say everything that a LoRA file says of itself, and whether it is whole."""
    from . import check as page

    page.check_lora(file, as_json=json_)


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context, json_: Json = False) -> None:
    if context.invoked_subcommand is None:
        from . import models as page

        page.models(as_json=json_)


@models.command("search")
def search_models(words: Words, family: Family = None, json_: Json = False) -> None:
    """Find models by name or family, on this machine and on ComfyUI servers."""
    from . import models as page

    page.search(" ".join(words), family=family, as_json=json_)


@models.command("why")
def why_models(prompt: Prompt, json_: Json = False) -> None:
    """Say which model a prompt would be drawn with, and why this one."""
    from . import models as page

    page.why(prompt, as_json=json_)


@models.command("add")
def add_model(
    address: Address, yes: Yes = False, adult: Adult = False, json_: Json = False
) -> None:
    """Get a model: shows what it is and asks before anything is downloaded."""
    from . import add as page

    page.add(address, kind="model", view=page.View(yes, adult, json_))


@models.command("check")
def check_model(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, folder or model's name.")],
    json_: Json = False,
) -> None:
    """Say everything that a model says of itself, and whether it is whole."""
    from . import check as page

    page.check_model(file, as_json=json_)
