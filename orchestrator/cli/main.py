"""The command line: parses, hands over, and turns every error into words and an exit status.

Heavy modules are imported inside the commands: `kizy --help` needs none of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .catalog_commands import loras, models
from .jobs_commands import jobs
from .server_commands import keys, serve

app = typer.Typer(
    name="kizy",
    help="Say what you want in a sentence: Kizy picks model, LoRAs and style, says why, and draws.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

comfy = typer.Typer(
    help="The ComfyUI that Kizy starts on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(loras, name="loras")
app.add_typer(models, name="models")
app.add_typer(comfy, name="comfy")
app.add_typer(jobs, name="jobs")
app.add_typer(keys, name="keys")
app.command()(serve)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show what went wrong inside.")]
OpenThem = Annotated[bool, typer.Option("--open", help="Show the pictures when they are done.")]
AMOUNTS = "How much is drawn anew: subtle, normal or strong."
FACES = "Words for a face, again for the next; from left to right."
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the pictures.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="On a server: draw also what it drew before.")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        from ...core.version import VERSION

        print(f"kizy {VERSION}")
        raise typer.Exit


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What you want to see.")],
    model: Annotated[str, typer.Option(help="Model by name, or a diffusers folder.")] = "auto",
    lora: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:WEIGHT]",
            help="LoRA, again for more; auto (the default) lets Kizy pick, none takes none.",
        ),
    ] = None,
    style: Annotated[str, typer.Option(help="Style, such as cartoon.")] = "auto",
    size: Annotated[str, typer.Option(help="square, portrait, ... or 512x512.")] = "auto",
    count: Annotated[int, typer.Option(help="How many pictures.")] = 1,
    seed: Annotated[str, typer.Option(help="Number; the same seed draws the same.")] = "auto",
    steps: Annotated[str, typer.Option(help="Sampler steps.")] = "auto",
    guidance: Annotated[str, typer.Option(help="How closely to follow the prompt.")] = "auto",
    negative: Annotated[str, typer.Option(help="What you do not want to see.")] = "auto",
    sampler: Annotated[str, typer.Option(help="Sampler, by ComfyUI's name.")] = "auto",
    quality: Annotated[str, typer.Option(help="draft, balanced or best.")] = "balanced",
    start: Annotated[Path | None, typer.Option(help="Picture to begin with.")] = None,
    strength: Annotated[
        str, typer.Option(help="0 keeps the start picture, 1 draws all anew.")
    ] = "auto",
    mask: Annotated[
        Path | None,
        typer.Option(help="White on black: where --start is drawn anew."),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=PICTURE[:STRENGTH]",
            help="Control map, such as canny=edges.png; give it again for more.",
        ),
    ] = None,
    improve: Annotated[
        list[str] | None,
        typer.Option(
            metavar="faces|MASK", help="Draw faces, or what a mask marks, again in detail."
        ),
    ] = None,
    amount: Annotated[str, typer.Option(help=AMOUNTS)] = "normal",
    face: Annotated[list[str] | None, typer.Option(metavar="WORDS", help=FACES)] = None,
    enlarge: Annotated[str, typer.Option(help="How many times larger, up to 8.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, comfyui or embedded.")] = "auto",
    out: Out = None,
    raw: Annotated[bool, typer.Option("--raw", help="Keep the size that the model draws.")] = False,
    fresh: Fresh = False,
    json_: Json = False,
    open_: OpenThem = False,
    debug: Debug = False,
) -> None:
    """Draw what the prompt says."""
    from . import draw
    from . import improve as improving

    values = {
        "prompt": prompt,
        "negative": negative,
        "model": model,
        "style": style,
        "size": size,
        "count": count,
        "seed": draw.number(seed),
        "steps": draw.number(steps),
        "guidance": draw.number(guidance),
        "sampler": sampler,
        "quality": quality,
        "loras": draw.lora_choices(lora),
        "start": draw.start_picture(start, strength),
        "mask": {"picture": str(mask)} if mask is not None else None,
        "controls": draw.controls(control),
        "improve": improving.improvements(improve, amount, face),
        "enlarge": improving.enlargement(enlarge),
        "engine": engine,
    }
    draw.generate(values, raw=raw, fresh=fresh, view=draw.View(out, json_, open_, debug))


@app.command()
def improve(
    picture: Annotated[Path, typer.Argument(help="PNG, JPEG, WebP, ..., from anywhere.")],
    what: Annotated[
        list[str] | None,
        typer.Option(metavar="faces|MASK", help="faces, or a mask: white on black."),
    ] = None,
    amount: Annotated[str, typer.Option(help=AMOUNTS)] = "normal",
    prompt: Annotated[
        str, typer.Option(help="What is to be seen; auto takes what the picture was drawn from.")
    ] = "auto",
    face: Annotated[list[str] | None, typer.Option(metavar="WORDS", help=FACES)] = None,
    enlarge: Annotated[str, typer.Option(help="How many times larger, up to 8.")] = "auto",
    model: Annotated[str, typer.Option(help="Model by name, or a diffusers folder.")] = "auto",
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:WEIGHT]", help="LoRA, again for more; auto, or none."),
    ] = None,
    seed: Annotated[str, typer.Option(help="Number; the same seed draws the same.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, comfyui or embedded.")] = "auto",
    out: Out = None,
    json_: Json = False,
    open_: OpenThem = False,
    debug: Debug = False,
) -> None:
    """Draw the faces of a picture, or what a mask marks, again in detail."""
    from . import draw
    from . import improve as improving

    values = {
        "seed": draw.number(seed),
        "improve": improving.improvements(what or ["faces"], amount, face),
        "enlarge": improving.enlargement(enlarge),
        "engine": engine,
    }
    given = improving.Given(prompt, model, lora)
    improving.improve(picture, values, given, view=draw.View(out, json_, open_, debug))


@app.command()
def train(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PICTURES", help="Pictures, folders, zips or videos; their number is free."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What the LoRA is called.")] = "",
    about: Annotated[str, typer.Option(help="What the pictures show, in a sentence.")] = "",
    base: Annotated[str, typer.Option(help="Model to train on: by name, folder or file.")] = "auto",
    goal: Annotated[str, typer.Option(help="character, style or object.")] = "auto",
    engine: Annotated[str, typer.Option(help="builtin or kohya.")] = "auto",
    steps: Annotated[str, typer.Option(help="Training steps.")] = "auto",
    rank: Annotated[str, typer.Option(help="How much the LoRA can hold.")] = "auto",
    resolution: Annotated[str, typer.Option(help="Pixels of a square's side.")] = "auto",
    quality: Annotated[str, typer.Option(help="draft, balanced or best.")] = "balanced",
    seed: Annotated[str, typer.Option(help="Number; the same seed trains the same.")] = "auto",
    captions_encoding: Annotated[
        str, typer.Option(help="Of caption files that are no UTF-8: shift_jis, gbk, cp1251, ...")
    ] = "auto",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the last one; or with PICTURES = its folder, or --name."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Prepare and show everything, train nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Begin without asking.")] = False,
    json_: Json = False,
    debug: Debug = False,
) -> None:
    """Make a LoRA from pictures and a name; prompts that mean it pick it from then on."""
    from . import train as page

    options = {
        "files": pictures or [],
        "name": name,
        "about": about,
        "base": base,
        "goal": goal,
        "engine": engine,
        "steps": steps,
        "rank": rank,
        "resolution": resolution,
        "quality": quality,
        "seed": seed,
        "captions_encoding": captions_encoding,
    }
    page.train(page.request_values(options), page.Wish(resume, dry_run, yes, json_, debug))


@app.command()
def replay(
    picture: Annotated[Path, typer.Argument(help="A PNG that Kizy drew.")],
    out: Out = None,
    fresh: Fresh = False,
    json_: Json = False,
    open_: OpenThem = False,
    debug: Debug = False,
) -> None:
    """Draw the same pixels again, from the Plan inside a picture."""
    from . import draw

    draw.replay(picture, fresh=fresh, view=draw.View(out, json_, open_, debug))


@app.command()
def show(
    picture: Annotated[Path, typer.Argument(help="A PNG that Kizy drew.")], json_: Json = False
) -> None:
    """Show how a picture was made, and why."""
    from . import show as page

    page.show(picture, as_json=json_)


@app.command()
def doctor(json_: Json = False) -> None:
    """Say what this machine can run, what is missing, and what to do."""
    from . import doctor as page

    page.doctor(as_json=json_)


@app.command()
def servers(json_: Json = False) -> None:
    """List the ComfyUI servers, and what each can do."""
    from . import servers as page

    page.servers(as_json=json_)


@app.command()
def mcp(
    http: Annotated[
        bool, typer.Option("--http", help="Over HTTP on this machine, not stdin and stdout.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for --http.")] = 7434,
    allow: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Assistants may read pictures in it, besides your own; again for more.",
        ),
    ] = None,
) -> None:
    """Give assistants that speak MCP Kizy's tools: to draw, edit, improve, train."""
    from . import mcp as page

    page.mcp(http=http, port=port, allow=allow or [])


@comfy.command("start")
def comfy_start(
    folder: Annotated[Path | None, typer.Option(help="ComfyUI's folder, with main.py.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port; if it is taken, the next one.")
    ] = None,
) -> None:
    """Start ComfyUI in the background; it is restarted when it dies."""
    from . import comfy as page

    page.start(folder=folder, port=port)


@comfy.command("stop")
def comfy_stop() -> None:
    """Stop what `kizy comfy start` started."""
    from . import comfy as page

    page.stop()


@comfy.command("status")
def comfy_status(json_: Json = False) -> None:
    """Say what runs."""
    from . import comfy as page

    page.status(as_json=json_)


@comfy.command("logs")
def comfy_logs(
    lines: Annotated[int, typer.Option(min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C.")] = False,
    port: Annotated[int | None, typer.Option(help="Which server, if there are several.")] = None,
) -> None:
    """Show what ComfyUI said."""
    from . import comfy as page

    page.logs(lines=lines, follow=follow, port=port)


def main() -> None:
    """Entry point of the command `kizy`."""
    from .failures import exit_status_of

    sys.exit(exit_status_of(lambda: app(standalone_mode=False), sys.argv[1:]))
