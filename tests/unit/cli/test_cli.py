"""The command line: exit status, words, JSON; every bad input is answered, nothing is written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer
from kizy.core.picture_files import png_bytes, read_plan
from kizy.core.plan import ModelFile
from kizy.drawing import memory
from kizy.orchestrator.cli.failures import exit_status_of
from kizy.orchestrator.cli.main import app
from PIL import Image

from tests.fakes.drawer import WAIT
from tests.fakes.scripted_torch import GIB, ScriptedTorch

QUICK = ["--steps", "2", "--size", "64x64", "--raw", "--seed", "1"]


@dataclass
class Outcome:
    status: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What was said, whatever the width of the terminal."""
        return " ".join(self.err.split())

    @property
    def json(self) -> dict:
        """The one document on stdout."""
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("KIZY_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def called(*arguments: object) -> Outcome:
        words = [str(argument) for argument in arguments]
        status = exit_status_of(lambda: app(words, standalone_mode=False), words)
        return Outcome(status, *capsys.readouterr())

    return called


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "start.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


def text_file(folder: Path) -> Path:
    path = folder / "notes.png"
    path.write_text("these are words")
    return path


def huge_png(folder: Path) -> Path:
    """A PNG that says it is 50,000 x 50,000 pixels large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    path = folder / "huge.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )
    return path


def safetensors(path: Path, names: dict[str, tuple[int, ...]], cut: int = 0) -> Path:
    header, position = {}, 0
    for name, shape in names.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(position)
    path.write_bytes(data[: len(data) - cut])
    return path


def sd15_lora(path: Path, cut: int = 0) -> Path:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    names = {f"{stem}.lora_down.weight": (4, 768), f"{stem}.lora_up.weight": (320, 4)}
    return safetensors(path, names, cut)


def pickled(path: Path) -> Path:
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    return path


def assert_refused(outcome: Outcome, code: str, out: Path) -> None:
    assert outcome.status == 2, outcome
    assert f"Code:  {code}" in outcome.err
    assert "Fix:" in outcome.err and "Error:" in outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    assert not out.exists() or list(out.iterdir()) == []


BAD = {
    "empty prompt": ([""], "prompt_empty"),
    "prompt of spaces": (["  \n "], "prompt_empty"),
    "prompt of 100 KB": (["a fox " * 17_000], "prompt_too_long"),
    "negative of 100 KB": (["x", "--negative", "rain " * 20_000], "prompt_too_long"),
    "no prompt": ([], "request_invalid"),
    "size 0x0": (["x", "--size", "0x0"], "size_invalid"),
    "size 100000x100000": (["x", "--size", "100000x100000"], "size_invalid"),
    "size 8192x8192": (["x", "--size", "8192x8192"], "size_invalid"),
    "size sqare": (["x", "--size", "sqare"], "size_invalid"),
    "size of 2000 characters": (["x", "--size", "9" * 2000], "request_invalid"),
    "steps -1": (["x", "--steps", "-1"], "request_invalid"),
    "steps abc": (["x", "--steps", "abc"], "request_invalid"),
    "steps 2.5": (["x", "--steps", "2.5"], "request_invalid"),
    "steps 100000": (["x", "--steps", "100000"], "request_invalid"),
    "seed -2": (["x", "--seed", "-2"], "request_invalid"),
    "guidance nan": (["x", "--guidance", "nan"], "request_invalid"),
    "guidance inf": (["x", "--guidance", "inf"], "request_invalid"),
    "count 0": (["x", "--count", "0"], "request_invalid"),
    "count abc": (["x", "--count", "abc"], "request_invalid"),
    "quality": (["x", "--quality", "superb"], "request_invalid"),
    "sampler": (["x", "--sampler", "eulr"], "request_invalid"),
    "unknown option": (["x", "--speed", "9"], "request_invalid"),
    "unknown model": (["x", "--model", "startr"], "model_unknown"),
    "model at no path": (["x", "--model", "/none/at/all"], "file_missing"),
    "unknown LoRA": (["x", "--lora", "none:0.5"], "lora_unknown"),
    "LoRA weight": (["x", "--lora", "none:11"], "request_invalid"),
    "unknown style": (["x", "--style", "cartoo"], "style_unknown"),
    "style of others": (["x", "--style", "watercolor"], "style_unknown"),
    "no start picture": (["x", "--start", "none.png"], "file_missing"),
    "start in a home of nobody": (["x", "--start", "~nobody-here/x.png"], "file_missing"),
    "start with a long name": (["x", "--start", "n" * 900], "file_missing"),
    "strength without start": (["x", "--strength", "0.5"], "request_invalid"),
    "strength 2": (["x", "--start", "a.png", "--strength", "2"], "request_invalid"),
}


@pytest.mark.parametrize(("arguments", "code"), BAD.values(), ids=BAD.keys())
def test_a_bad_wish_is_refused(run: Run, out: Path, arguments: list[str], code: str) -> None:
    assert_refused(run("generate", *arguments, "--out", out), code, out)


@pytest.mark.parametrize(("arguments", "code"), BAD.values(), ids=BAD.keys())
def test_a_bad_wish_with_json_gives_one_document(
    run: Run, out: Path, arguments: list[str], code: str
) -> None:
    outcome = run("generate", *arguments, "--out", out, "--json")
    assert outcome.json["error"].keys() == {"code", "message", "fix"}
    assert outcome.json["error"]["code"] == code


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--size", "sqare"], "square"),
        (["--model", "startr"], "starter"),
        (["--style", "cartoo"], "cartoon"),
        (["--sampler", "eulr"], "euler"),
    ],
)
def test_the_nearest_name_is_suggested(run: Run, arguments: list[str], meant: str) -> None:
    assert f'Did you mean "{meant}"?' in run("generate", "x", *arguments).words


def test_the_nearest_lora_is_suggested(run: Run, home: Path) -> None:
    (home / "loras").mkdir()
    sd15_lora(home / "loras" / "Foxes.safetensors")
    assert 'Did you mean "Foxes"?' in run("generate", "x", "--lora", "foxs").words


def test_strength_without_start_is_told_in_words(run: Run) -> None:
    words = run("generate", "x", "--strength", "0.5").words
    assert "--start" in words or "start picture" in words


@pytest.mark.parametrize(
    ("make", "code"), [(text_file, "picture_unreadable"), (huge_png, "picture_too_large")]
)
@pytest.mark.parametrize("command", ["start", "mask", "replay", "show"])
def test_what_is_no_usable_picture_is_refused(
    run: Run, out: Path, tmp_path: Path, picture: Path, make, code: str, command: str
) -> None:
    bad = make(tmp_path)
    arguments = {
        "start": ["generate", "x", "--start", bad, "--out", out],
        "mask": ["generate", "x", "--start", picture, "--mask", bad, "--out", out],
        "replay": ["replay", bad, "--out", out],
        "show": ["show", bad],
    }[command]
    assert_refused(run(*arguments), code, out)


@pytest.mark.parametrize("command", ["replay", "show"])
def test_a_picture_without_a_plan_is_refused(run: Run, out: Path, picture: Path, command) -> None:
    assert_refused(run(command, picture), "plan_missing", out)


def test_a_mask_without_a_start_picture_is_refused(run: Run, out: Path, picture: Path) -> None:
    assert_refused(run("generate", "x", "--mask", picture, "--out", out), "mask_unusable", out)


def test_a_mask_that_marks_nothing_is_refused(
    run: Run, out: Path, tmp_path: Path, picture: Path
) -> None:
    Image.new("L", (64, 48), 0).save(tmp_path / "mask.png")
    outcome = run("generate", "x", "--start", picture, "--mask", tmp_path / "mask.png",
                  "--out", out, "--steps", "1", "--raw")  # fmt: skip
    assert_refused(outcome, "mask_unusable", out)


@pytest.mark.parametrize("option", ["--lora", "--model"])
@pytest.mark.parametrize("name", ["m.ckpt", "m.pt", "m.bin", "m.safetensors"])
def test_a_pickled_file_is_refused(run: Run, out: Path, tmp_path: Path, option, name) -> None:
    bad = pickled(tmp_path / name)
    assert_refused(run("generate", "x", option, bad, "--out", out), "model_file_pickled", out)


@pytest.mark.parametrize("option", ["--lora", "--model"])
def test_a_file_that_is_cut_short_is_refused(run: Run, out: Path, tmp_path: Path, option) -> None:
    bad = sd15_lora(tmp_path / "cut.safetensors", cut=100)
    assert_refused(run("generate", "x", option, bad, "--out", out), "model_file_damaged", out)


def test_a_lora_of_another_family_is_refused(run: Run, out: Path, tmp_path: Path) -> None:
    path = sd15_lora(tmp_path / "fox.safetensors")
    outcome = run("generate", "x", "--lora", f"{path}:0.5", "--out", out)
    assert_refused(outcome, "lora_other_family", out)


def test_a_lora_that_fits_nothing_is_refused(run: Run, out: Path, tmp_path: Path) -> None:
    names = {"lora_unet_x.lora_down.weight": (4, 99), "lora_unet_x.lora_up.weight": (77, 4)}
    path = safetensors(tmp_path / "odd.safetensors", names)
    outcome = run("generate", "x", "--lora", path, "--out", out, *QUICK)
    assert_refused(outcome, "lora_other_family", out)


def test_an_out_that_is_a_file_is_a_storage_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    outcome = run("generate", "x", "--out", tmp_path / "file", *QUICK)
    assert outcome.status == 2
    assert "Code:  folder_not_writable" in outcome.err


def test_settings_that_are_wrong_are_told_in_words(run: Run, home: Path) -> None:
    (home / "kizy.toml").write_text("previews = = true")
    words = run("generate", "x").words
    assert "kizy.toml" in words and "Kizy made a mistake" not in words


def test_bytes_of_a_prompt_that_are_no_utf8_are_replaced(run: Run, out: Path) -> None:
    document = run("generate", "a \udcff fox", "--out", out, "--json", *QUICK).json
    assert document["plan"]["request_prompt"] == "a \ufffd fox"
    assert len(list(out.iterdir())) == 1


def test_a_prompt_of_bytes_that_are_no_utf8_alone_is_refused(run: Run, out: Path) -> None:
    assert_refused(run("generate", "\udcff\udcfe", "--out", out, *QUICK), "request_invalid", out)


def test_a_drawing_is_saved_and_told(run: Run, out: Path) -> None:
    outcome = run("generate", "a red fox", "--out", out, *QUICK)
    (saved,) = out.iterdir()
    assert (outcome.status, outcome.out) == (0, "")
    assert saved.name in outcome.err and "seed 1" in outcome.err


def test_a_drawing_with_json_gives_one_document(run: Run, out: Path) -> None:
    document = run("generate", "a red fox", "--out", out, "--json", *QUICK).json
    (saved,) = out.iterdir()
    assert [item["path"] for item in document["pictures"]] == [str(saved)]
    assert document["plan"]["request_prompt"] == "a red fox"


def test_a_prompt_with_markup_is_shown_as_it_is(run: Run, out: Path) -> None:
    assert "[bold]fox[/]" in run("generate", "a [bold]fox[/]", "--out", out, *QUICK).err


def test_without_out_pictures_go_to_kizys_folder(run: Run, home: Path) -> None:
    run("generate", "a red fox", *QUICK)
    assert len(list((home / "pictures").iterdir())) == 1


@pytest.mark.parametrize("with_pictures", [False, True])
def test_a_replay_draws_identical_pixels(
    run: Run, out: Path, tmp_path: Path, picture: Path, with_pictures: bool
) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (64, 48), 255).save(mask)
    inputs = ["--start", picture, "--mask", mask] if with_pictures else ["--lora", "none"]
    run("generate", "a red fox", "--steps", "2", "--out", out, *inputs)
    picture.unlink()
    for original in sorted(out.iterdir()):
        assert run("replay", original, "--out", tmp_path / "again").status == 0
        (again,) = (tmp_path / "again").iterdir()
        with Image.open(original) as one, Image.open(again) as other:
            assert (np.asarray(one) == np.asarray(other)).all()
        again.unlink()


def test_show_tells_the_plan(run: Run, out: Path) -> None:
    run("generate", "a red fox", "--out", out, *QUICK)
    shown = run("show", next(out.iterdir()))
    assert shown.status == 0
    for fact in ("a red fox", "starter", "64x64", "Seed", "euler"):
        assert fact in shown.out


def test_show_with_json_gives_the_plan_itself(run: Run, out: Path) -> None:
    run("generate", "a red fox", "--out", out, *QUICK)
    saved = next(out.iterdir())
    assert run("show", saved, "--json").json == read_plan(saved).model_dump(mode="json")


def test_models_lists_the_starter(run: Run) -> None:
    listed = run("models")
    assert (listed.status, "starter" in listed.out, "ready" in listed.out) == (0, True, True)


def test_models_with_json_says_which_are_broken_and_why(run: Run, home: Path) -> None:
    (home / "models").mkdir()
    pickled(home / "models" / "old.ckpt")
    listed = {entry["name"]: entry for entry in run("models", "--json").json["models"]}
    assert listed["starter"]["drawable_here"] is True
    assert listed["old"]["drawable_here"] is False
    assert "pickle" in listed["old"]["problem"]


def test_doctor_with_json_names_its_checks(run: Run) -> None:
    checks = {check["name"]: check for check in run("doctor", "--json").json["checks"]}
    assert checks["Starter model"]["state"] == "ok"


@pytest.mark.parametrize(
    ("torch", "found"),
    [
        (ScriptedTorch("mps", free=2 * GIB), "Apple GPU, "),
        (ScriptedTorch("cuda", hip="6.4"), "AMD Radeon RX 7900 XT, ROCm 6.4, 17.2 GB free"),
        (ScriptedTorch("xpu"), "Intel(R) Arc(TM) A770 Graphics, 17.2 GB free"),
    ],
    ids=["apple", "amd", "intel"],
)
def test_doctor_names_the_gpu_of_every_maker(
    run: Run, monkeypatch: pytest.MonkeyPatch, torch: ScriptedTorch, found: str
) -> None:
    monkeypatch.setattr(memory, "torch", torch)
    checks = {check["name"]: check for check in run("doctor", "--json").json["checks"]}
    assert checks["GPU"]["state"] == "ok"
    assert checks["GPU"]["found"].startswith(found)


def test_doctor_says_what_is_wrong_with_the_settings(run: Run, home: Path) -> None:
    (home / "kizy.toml").write_text("model = [")
    report = run("doctor", "--json")
    checks = {check["name"]: check for check in report.json["checks"]}
    assert (report.status, checks["Settings"]["state"]) == (1, "missing")
    assert "kizy.toml" in checks["Settings"]["found"]


def test_doctor_looks_at_the_folder_that_the_settings_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KIZY_PICTURES", str(tmp_path / "file" / "pictures"))
    checks = {check["name"]: check for check in run("doctor", "--json").json["checks"]}
    assert checks["Pictures"]["state"] == "missing"
    assert str(tmp_path / "file") in checks["Pictures"]["found"]
    assert checks["Kizy's folder"]["state"] == "ok"


def test_a_replay_says_when_the_starter_has_changed(run: Run, out: Path, tmp_path: Path) -> None:
    run("generate", "a red fox", "--out", out, *QUICK)
    saved = next(out.iterdir())
    plan = read_plan(saved)
    assert len(plan.model.sha256 or "") == 64
    same = run("replay", saved, "--out", tmp_path / "again")
    assert "trained on since" not in same.words
    other = plan.model_copy(update={"model": ModelFile(name="starter", sha256="0" * 64)})
    with Image.open(saved) as picture:
        (tmp_path / "old.png").write_bytes(png_bytes(picture, other, "0"))
    changed = run("replay", tmp_path / "old.png", "--out", tmp_path / "again")
    assert changed.status == 0
    assert "the starter was trained on since this was drawn" in changed.words


def test_a_refused_wish_leaves_no_copy_of_its_pictures(run: Run, home: Path, picture: Path) -> None:
    assert run("generate", "a fox", "--start", picture, "--size", "sqare").status == 2
    assert not (home / "inputs").exists()


def test_a_disk_that_is_full_when_a_picture_is_saved_is_told(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    refused = run("generate", "a red fox", "--out", out, "--json", *QUICK)
    assert (refused.status, refused.json["error"]["code"]) == (2, "disk_full")
    assert list(out.iterdir()) == []


def test_what_a_picture_says_cannot_control_the_terminal(
    run: Run, out: Path, tmp_path: Path
) -> None:
    run("generate", "a red fox", "--out", out, *QUICK)
    saved = next(out.iterdir())
    plan = read_plan(saved).model_copy(update={"request_prompt": "a \x1b[31mfox"})
    with Image.open(saved) as picture:
        (tmp_path / "odd.png").write_bytes(png_bytes(picture, plan, "0"))
    assert "a ?[31mfox" in run("show", tmp_path / "odd.png").out


def test_json_is_ascii_whatever_was_asked_for(run: Run, out: Path) -> None:
    drawn = run("generate", "a fox 🦊", "--out", out, "--json", *QUICK)
    assert drawn.out.isascii()
    assert drawn.json["plan"]["request_prompt"] == "a fox 🦊"
    assert run("show", next(out.iterdir()), "--json").out.isascii()
    assert run("generate", "a fox", "--style", "🦊", "--json").out.isascii()


def test_open_shows_every_picture(run: Run, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(typer, "launch", shown.append)
    run("generate", "a red fox", "--count", 2, "--open", "--out", out, *QUICK)
    assert sorted(shown) == sorted(map(str, out.iterdir()))


def test_version_is_one_line(run: Run) -> None:
    assert run("--version").out.startswith("kizy ")


def test_an_unforeseen_error_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ZeroDivisionError("half of nothing")

    assert exit_status_of(fail, ["--json"]) == 1
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert json.loads(shown.out)["error"]["code"] == "drawing_failed"


def test_with_debug_an_unforeseen_error_is_shown() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status_of(lambda: 1 / 0, ["--debug"])


def test_ctrl_c_with_json_gives_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    assert exit_status_of(stop, ["--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "cancelled"


def test_ctrl_c_before_anything_is_drawn_is_not_an_error_of_kizy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted = typer.Typer()

    @interrupted.command()
    def wait() -> None:
        raise KeyboardInterrupt

    assert exit_status_of(lambda: interrupted([], standalone_mode=False), []) == 130
    assert "mistake" not in capsys.readouterr().err


def test_ctrl_c_without_json_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    assert exit_status_of(stop, []) == 130
    assert capsys.readouterr().out == ""


LONG_DRAWING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kizy.orchestrator.cli.main import main
from kizy.orchestrator.storage.pictures import PictureFolder
save = PictureFolder.save
def told(self, plan, picture):
    artifact = save(self, plan, picture)
    print("saved", flush=True)
    return artifact
PictureFolder.save = told
main()
"""


@pytest.mark.slow
def test_ctrl_c_stops_a_long_drawing_and_says_what_was_saved(out: Path) -> None:
    arguments = ["generate", "a red fox", "--count", "900", "--out", str(out), *QUICK]
    with subprocess.Popen(
        [sys.executable, "-c", LONG_DRAWING, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "saved\n"
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=3 * WAIT)
        finally:
            process.kill()
    saved = sorted(path.name for path in out.iterdir())
    assert process.returncode == 130
    assert "Traceback" not in err and "Code:  cancelled" in err
    assert 0 < len(saved) < 900
    assert f"Stopped; {len(saved)} picture" in err
    assert all(name in err for name in saved)


@pytest.mark.slow
def test_help_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys; from kizy.orchestrator.cli.failures import exit_status_of\n"
        "from kizy.orchestrator.cli.main import app\n"
        "exit_status_of(lambda: app(['--help'], standalone_mode=False), [])\n"
        "print('torch' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=WAIT
    )
    assert "generate" in shown.stdout and shown.stdout.endswith("False\n")


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_links_that_lead_nowhere_are_told_by_models_loras_and_doctor(run: Run, home: Path) -> None:
    for folder in ("models", "loras"):
        (home / folder).mkdir(exist_ok=True)
        (home / folder / "drive").symlink_to(home / "unplugged")
    told = "1 link leads to nothing that is there"
    assert told in run("models", "--json").json["notes"][0]
    assert told in " ".join(run("models").out.split())
    assert told in " ".join(run("loras").err.split())
    checks = {check["name"]: check for check in run("doctor", "--json").json["checks"]}
    assert told in checks["Models"]["do"]
    assert told in checks["LoRAs"]["do"]
