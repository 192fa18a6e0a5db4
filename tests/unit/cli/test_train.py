"""`kizy train`: what it shows, what it refuses, and how it goes on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kizy.core.errors import CancelledError, InputError, KizyError, UnknownNameError
from kizy.orchestrator.cli import train as page
from kizy.orchestrator.cli.draw import FailedError
from kizy.orchestrator.cli.failures import exit_status_of
from kizy.orchestrator.cli.main import app
from kizy.orchestrator.cli.train_view import time_left
from kizy.trainer.run_folder import RunFolder, list_runs
from kizy.trainer.supervise import Waits
from kizy.trainer.train import Trainer
from PIL import Image

from tests.fakes.training import FakeEngine, cpu, run_folder

OPTIONS: dict[str, Any] = {
    "files": [], "name": "", "about": "", "base": "auto", "goal": "auto", "engine": "auto",
    "steps": "auto", "rank": "auto", "resolution": "auto", "quality": "balanced", "seed": "auto",
}  # fmt: skip


@dataclass
class Said:
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


Train = Callable[..., Said]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        noise = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return str(folder)


@pytest.fixture
def trainer() -> Trainer:
    engines = {"builtin": FakeEngine()}
    return Trainer(engines=engines, machine=lambda name: cpu(), waits=Waits(poll=0.01))


@pytest.fixture
def train(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> Train:
    def called(*, wish: dict[str, bool] | None = None, **options: Any) -> Said:
        flags = {"resume": False, "dry_run": False, "yes": True, "as_json": False, "debug": False}
        values = page.request_values({**OPTIONS, **options})
        page.train(values, page.Wish(**{**flags, **(wish or {})}), trainer=trainer)
        return Said(*capsys.readouterr())

    return called


def test_it_shows_plan_progress_and_result(train: Train, pictures: str) -> None:
    said = train(files=[pictures], name="Mimi", about="my grey cat", steps="20")
    assert "Mimi: 3 pictures" in said.err and 'Trigger: "' in said.err
    assert "Steps: 20 (you asked for it)" in said.err
    assert "step 20 of 20, loss 0.05" in said.err
    assert "Draw with it: kizy generate" in said.err and said.out == ""


def test_with_json_there_is_one_document(train: Train, pictures: str) -> None:
    said = train(files=[pictures], name="Mimi", wish={"as_json": True}).json
    assert (said["state"], said["best_step"], said["steps"]) == ("succeeded", 20, 20)
    assert said["validation"][-1] == [20, 0.05]
    assert said["plan"]["goal"] == "character" and Path(said["folder"]).is_dir()


def test_a_dry_run_trains_nothing_and_can_be_gone_on_with(train: Train, pictures: str) -> None:
    said = train(files=[pictures], name="Mimi", wish={"dry_run": True})
    assert "data.toml\na = 1" in said.out and "training_process.py" in said.out
    run = list_runs()[0]
    assert run.state() == "prepared"
    train(wish={"resume": True})
    assert run.state() == "succeeded"


def test_a_dry_run_prints_a_line_that_can_be_read_and_typed(
    pictures: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(machine=lambda name: cpu())
    wish = page.Wish(resume=False, dry_run=True, yes=True, as_json=False, debug=False)
    values = page.request_values({**OPTIONS, "files": [pictures], "name": "Mimi"})
    page.train(values, wish, trainer=trainer)
    lines = capsys.readouterr().out.splitlines()
    folder = str(list_runs()[0].path)
    assert (
        lines[0] == f"cd {folder}"
        and lines[1] == f"{sys.executable} -m kizy.trainer.builtin {folder}"
    )
    # Without pictures it ends before it trains.
    shutil.rmtree(Path(folder) / "pictures")
    done = subprocess.run(lines[1].split(), cwd=folder, capture_output=True)
    last = list_runs()[0].all_events()[-1]
    assert done.returncode == 1 and last.kind == "end" and last.error is not None
    assert last.error.code == "dataset_invalid"


def test_the_script_and_each_option_stand_on_a_line_of_their_own() -> None:
    shown = page._in_lines(("python", "--cpu", "train.py", "--steps", "5", "--name", "a b"))
    assert shown == "python \\\n  --cpu \\\n  train.py \\\n  --steps 5 \\\n  --name 'a b'"


def test_a_dry_run_as_json_holds_files_and_command(train: Train, pictures: str) -> None:
    said = train(files=[pictures], name="Mimi", wish={"dry_run": True, "as_json": True}).json
    assert said["command"]["argv"] and list(said["files"].values()) == ["a = 1\n"]
    assert len(said["dataset"]["examples"]) == 3


def test_a_failure_is_an_error_with_its_code(train: Train) -> None:
    run_folder(end="memory")
    with pytest.raises(FailedError) as caught:
        train(wish={"resume": True})
    assert (caught.value.code, caught.value.exit_status) == ("out_of_memory", 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": "Mimi"}, "no pictures"),
        ({"files": ["x"]}, "no name"),
        ({"files": ["x"], "name": "Mimi", "steps": "many"}, "steps = many"),
        ({"files": ["x"], "name": "Mimi", "goal": "person"}, "goal = person"),
        ({"files": ["x"], "name": "Mimi", "engine": "mine"}, "builtin, kohya"),
    ],
)
def test_what_cannot_be_is_refused(train: Train, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        train(**options)
    assert list_runs() == []


def test_a_file_whose_name_is_no_text_is_told(train: Train) -> None:
    with pytest.raises(UnknownNameError, match=r"name of mimi\?\.png is no valid text"):
        train(files=["mimi\udcff.png"], name="Mimi")


def test_a_name_is_brought_onto_one_line(train: Train, pictures: str) -> None:
    train(files=[pictures], name="Mimi\nthe\x1b[31m cat", wish={"dry_run": True})
    assert list_runs()[0].plan().name == "Mimi the [31m cat"
    with pytest.raises(InputError, match="nothing that can be shown"):
        train(files=[pictures], name="\u200b\x07")


def test_pictures_that_are_none_leave_no_run(train: Train, tmp_path: Path) -> None:
    with pytest.raises(KizyError):
        train(files=[str(tmp_path / "nothing")], name="Mimi")
    assert list_runs() == []


def test_resume_keeps_what_was_decided(train: Train) -> None:
    run_folder()
    with pytest.raises(InputError, match="--steps changes nothing"):
        train(steps="9", wish={"resume": True})


def test_resume_without_a_training_is_told(train: Train) -> None:
    with pytest.raises(UnknownNameError) as caught:
        train(wish={"resume": True})
    assert caught.value.code == "training_unknown"


class Interrupted(Trainer):
    """Gets a signal after so many events, so many times."""

    def __init__(self, times: int, number: int, **values: Any) -> None:
        super().__init__(**values)
        self._times, self._number = times, number

    def follow(self, handle):
        for number, event in enumerate(super().follow(handle)):
            if number == 5 and self._times:
                self._times -= 1
                signal.raise_signal(self._number)
            yield event


@pytest.mark.parametrize(
    ("times", "number", "state"),
    [(1, signal.SIGINT, "stopped"), (1, signal.SIGTERM, "stopped"), (2, signal.SIGINT, "failed")],
)
def test_ctrl_c_stops_and_a_second_one_ends_it(
    times: int, number: int, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(steps=100_000, pause=0.01)
    trainer = Interrupted(
        times,
        number,
        engines={"builtin": FakeEngine()},
        machine=lambda name: cpu(),
        waits=Waits(0.01),
    )
    wish = page.Wish(resume=True, dry_run=False, yes=True, as_json=False, debug=False)
    with pytest.raises(KizyError) as caught:
        page.train(page.request_values(OPTIONS), wish, trainer=trainer)
    assert isinstance(caught.value, CancelledError if times == 1 else FailedError)
    assert run.state() == state
    assert "--resume" in f"{caught.value.fix}{capsys.readouterr().err}"


def test_the_command_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "nothing.png"]
    status = exit_status_of(lambda: app(words, standalone_mode=False), words)
    assert status == 2 and "no name" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_in_a_terminal_ends_with_130(pictures: str, kizy_home: Path) -> None:
    run = run_folder(steps=100_000, pause=0.01)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from kizy.orchestrator.cli import failures, train\n"
        "from kizy.trainer.supervise import Waits\n"
        "from kizy.trainer.train import Trainer\n"
        "from tests.fakes.training import FakeEngine, cpu\n"
        "trainer = Trainer(engines={'builtin': FakeEngine()}, machine=lambda n: cpu(),"
        " waits=Waits(0.01))\n"
        "values = dict(files=[], name='', about='', base='auto', goal='auto', engine='auto',"
        " steps='auto', rank='auto', resolution='auto', quality='balanced', seed='auto')\n"
        "wish = train.Wish(True, False, True, False, False)\n"
        "sys.exit(failures.exit_status_of("
        "lambda: train.train(values, wish, trainer=trainer), []))\n"
    )
    root = str(Path(__file__).parents[3])
    child = subprocess.Popen([sys.executable, "-c", code, root], stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    while "step " not in child.stderr.readline():
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "Stopped after step" in err and RunFolder(run.path).state() == "stopped"


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (600, "10 min"), (12_000, "3 h 20 min")]
)
def test_time_is_told_in_words(seconds: float, words: str) -> None:
    assert time_left(seconds) == words
