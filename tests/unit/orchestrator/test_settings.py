"""Settings: the environment, then kizy.toml, then the defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kizy.core.errors import InputError
from kizy.orchestrator.settings import (
    CaptionsSettings,
    ComfyuiSettings,
    JobsSettings,
    LorasSettings,
    RerankSettings,
    ServerSettings,
    ServeSettings,
    Settings,
    StorageSettings,
    TrainerSettings,
    load_settings,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "kizy"
    folder.mkdir()
    monkeypatch.setenv("KIZY_HOME", str(folder))
    for name in ("KIZY_ENGINE", "KIZY_MODEL", "KIZY_PICTURES", "KIZY_PREVIEWS"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_without_anything_the_defaults_hold() -> None:
    settings = Settings()
    assert (settings.pictures, settings.model, settings.previews) == (None, None, True)


def test_kizy_toml_beats_the_defaults(home: Path) -> None:
    (home / "kizy.toml").write_text('model = "from file"\npreviews = false\n')
    assert (Settings().model, Settings().previews) == ("from file", False)


def test_the_environment_beats_kizy_toml(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "kizy.toml").write_text('model = "from file"\n')
    monkeypatch.setenv("KIZY_MODEL", "from environment")
    assert Settings().model == "from environment"


def test_one_setting_from_the_environment_leaves_the_others_to_the_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "kizy.toml").write_text('model = "from file"\npreviews = true\n')
    monkeypatch.setenv("KIZY_PREVIEWS", "0")
    assert (Settings().model, Settings().previews) == ("from file", False)


def test_a_file_with_words_of_a_later_version_is_read(home: Path) -> None:
    (home / "kizy.toml").write_text('later = 1\nmodel = "m"\n')
    assert Settings().model == "m"


def refused(text: str = "", **environment: str) -> str:
    """The message about settings that cannot be understood."""
    (Path(os.environ["KIZY_HOME"]) / "kizy.toml").write_text(text)
    os.environ.update(environment)
    with pytest.raises(InputError) as caught:
        load_settings()
    assert caught.value.code == "settings_invalid"
    return caught.value.message


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets is forgotten."""
    for name in ("KIZY_SERVERS", "KIZY_COMFYUI__GPUS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_servers_stand_in_tables_of_kizy_toml(home: Path) -> None:
    (home / "kizy.toml").write_text(
        '[[servers]]\nname = "studio"\nurl = "https://gpu.example.org/"\nkey = "secret"\n'
        '[[servers]]\nurl = "10.0.0.2"\n'
    )
    addresses = [server.address() for server in load_settings().servers]
    assert [(x.name, x.url, x.key) for x in addresses] == [
        ("studio", "https://gpu.example.org", "secret"),
        ("10.0.0.2:8188", "http://10.0.0.2:8188", None),
    ]


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("localhost, https://a.example", ["http://127.0.0.1:8188", "https://a.example"]),
        ('[{"url": "http://a:1"}]', ["http://a:1"]),
        ('["a", "b:2"]', ["http://a:8188", "http://b:2"]),
        ("", []),
    ],
)
def test_servers_can_be_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, urls: list[str]
) -> None:
    monkeypatch.setenv("KIZY_SERVERS", text)
    assert [server.address().url for server in load_settings().servers] == urls


def test_a_key_is_never_shown(home: Path) -> None:
    (home / "kizy.toml").write_text('[[servers]]\nurl = "a"\nkey = "hunter2"\n')
    settings = load_settings()
    shown = [repr(settings), str(settings), settings.model_dump_json()]
    assert not any("hunter2" in text for text in shown)
    assert "hunter2" not in repr(settings.servers[0].address())


@pytest.mark.parametrize(
    "lines",
    [
        'url = "http://me:hunter2@a"',
        'url = "http://a/?token=hunter2"',
        'url = "a"\nuser = "me"\npassword = "hunter2"',
    ],
)
def test_a_password_or_a_token_is_never_shown(home: Path, lines: str) -> None:
    (home / "kizy.toml").write_text(f"[[servers]]\n{lines}\n")
    settings = load_settings()
    shown = [repr(settings), settings.model_dump_json(), repr(settings.servers[0].address())]
    assert not any("hunter2" in text for text in shown)
    address = settings.servers[0].address()
    assert "hunter2" in "".join(address.secrets) and "hunter2" not in address.name + address.url


@pytest.mark.parametrize(
    "text",
    [
        '[[servers]]\nurl = "ftp://a"\nkey = "hunter2"\n',
        '[[servers]]\nkey = "hunter2"\n',
        '[[servers]]\nurl = "http://me:hunter2@a"\nkey = "other"\n',
        '[[servers]]\nurl = "a"\nkey = ["hunter2"]\n',
        '[[servers]]\nurl = "a"\nkey = "hunter2 "\nname = 3\n',
    ],
)
def test_a_wrong_server_is_told_without_its_key(text: str) -> None:
    message = refused(text)
    assert "servers.1" in message and "hunter2" not in message


def test_broken_json_in_the_environment_is_told_without_its_keys() -> None:
    assert "hunter2" not in refused(KIZY_SERVERS='[{"url": "a", "key": "hunter2"}')


def test_two_servers_of_one_name_are_refused() -> None:
    text = '[[servers]]\nname = "a"\nurl = "x"\n[[servers]]\nname = "a"\nurl = "y"\n'
    assert 'two servers have the name "a"' in refused(text)


def test_a_comfyui_to_start_stands_in_a_table(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "kizy.toml").write_text(
        '[comfyui]\nfolder = "~/ComfyUI"\narguments = ["--lowvram"]\ngpus = [0, 1]\nport = 9000\n'
    )
    comfyui = load_settings().comfyui
    assert comfyui.folder == Path("~/ComfyUI").expanduser()
    assert (comfyui.arguments, comfyui.gpus, comfyui.port) == (("--lowvram",), (0, 1), 9000)
    monkeypatch.setenv("KIZY_COMFYUI__GPUS", "2,3")
    assert load_settings().comfyui == comfyui.model_copy(update={"gpus": (2, 3)})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('gpus = "all"', 'comfyui.gpus: give "auto", "none", or indices'),
        ("gpus = []", "comfyui.gpus: give"),
        ("gpus = 1.5", "comfyui.gpus: give"),
        ("gpus = [1, 1]", "comfyui.gpus: a GPU is named twice"),
        ("port = 70000", "comfyui.port"),
        ('arguments = ["--listen"]', "--listen is decided by Kizy"),
        ('arguments = ["--port=1"]', "--port=1 is decided by Kizy"),
    ],
)
def test_a_wrong_comfyui_setting_is_told(line: str, told: str) -> None:
    assert told in refused(f"[comfyui]\n{line}\n")


def test_loras_are_a_table_of_kizy_toml(home: Path) -> None:
    (home / "kizy.toml").write_text(
        '[loras]\nfolders = ["~/a", "b"]\nmax = 2\nscope_tags = ["ink"]\nadult = true\n'
        '[loras.rerank]\nurl = "http://127.0.0.1:11434/v1/"\nmodel = "small"\n'
    )
    loras = load_settings().loras
    assert loras.folders == (Path.home() / "a", home / "b")
    assert (loras.max, loras.scope_tags, loras.adult) == (2, ("ink",), True)
    assert (loras.rerank.url, loras.rerank.model) == ("http://127.0.0.1:11434/v1", "small")


def test_loras_can_be_set_in_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "kizy.toml").write_text('[loras.rerank]\nurl = "http://a/v1"\nmodel = "small"\n')
    monkeypatch.setenv("KIZY_LORAS__FOLDERS", "/a, /b")
    monkeypatch.setenv("KIZY_LORAS__A1111", "/webui")
    monkeypatch.setenv("KIZY_LORAS__RERANK__KEY", "hunter2")
    loras = load_settings().loras
    assert (loras.folders, loras.a1111) == ((Path("/a"), Path("/b")), Path("/webui"))
    assert loras.rerank.key is not None and loras.rerank.key.get_secret_value() == "hunter2"
    assert loras.rerank.url == "http://a/v1"
    assert "hunter2" not in repr(load_settings()) + load_settings().model_dump_json()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("max = 11", "loras.max"),
        ("max = -1", "loras.max"),
        ('folders = ["~nobody-here/x"]', "no such user"),
        ('rerank = {url = "a.example", model = "m"}', "http:// or https://"),
        ('rerank = {url = "http://[", model = "m"}', "http:// or https://"),
        ('rerank = {url = "http://a"}', "name the `model`"),
        ('rerank = {url = "http://me:hunter2@a", model = "m"}', "a setting of its own"),
    ],
)
def test_a_wrong_setting_about_loras_is_told(lines: str, told: str) -> None:
    message = refused(f"[loras]\n{lines}\n")
    assert told in message and "hunter2" not in message


def test_an_engine_that_does_not_exist_is_told() -> None:
    assert "engine" in refused('engine = "paint"\n')


def names_and_variables() -> Iterator[tuple[str, str]]:
    """(name in kizy.toml, variable) of every setting."""
    for name in Settings.model_fields:
        yield name, f"KIZY_{name.upper()}"
    for name in ComfyuiSettings.model_fields:
        yield name, f"KIZY_COMFYUI__{name.upper()}"
    for name in LorasSettings.model_fields:
        yield name, f"KIZY_LORAS__{name.upper()}"
    for name in RerankSettings.model_fields:
        yield name, f"KIZY_LORAS__RERANK__{name.upper()}"
    for name in TrainerSettings.model_fields:
        yield name, f"KIZY_TRAINER__{name.upper()}"
    for name in CaptionsSettings.model_fields:
        yield name, f"KIZY_TRAINER__CAPTIONS__{name.upper()}"
    for name in ServeSettings.model_fields:
        yield name, f"KIZY_SERVE__{name.upper()}"
    for name in JobsSettings.model_fields:
        yield name, f"KIZY_JOBS__{name.upper()}"
    for name in StorageSettings.model_fields:
        yield name, f"KIZY_STORAGE__{name.upper()}"


def test_training_is_a_table_of_kizy_toml(home: Path) -> None:
    (home / "kizy.toml").write_text(
        '[trainer]\nkohya = "~/sd-scripts"\ninterpreter = "~/kizy/bin/python"\n'
        '[trainer.captions]\nurl = "http://127.0.0.1:8000/v1/"\nmodel = "eyes"\nkey = "secret"\n'
    )
    trainer = load_settings().trainer
    assert trainer.kohya == Path.home() / "sd-scripts"
    assert trainer.interpreter == Path.home() / "kizy" / "bin" / "python"
    assert (trainer.captions.url, trainer.captions.model) == ("http://127.0.0.1:8000/v1", "eyes")
    assert "secret" not in repr(trainer)


def test_the_page_about_settings_describes_every_setting() -> None:
    page = Path(__file__).parents[3] / "docs" / "settings.md"
    rows = [line.split("|") for line in page.read_text().splitlines() if line.startswith("| `")]
    described = {(row[1].strip(" `"), row[2].strip(" `")) for row in rows}
    assert set(names_and_variables()) - described == set()
    assert set(ServerSettings.model_fields) <= {name for name, _ in described}


def test_the_page_about_settings_describes_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()
    others = {"KIZY_HOME", "KIZY_CIVITAI_KEY", "KIZY_PYTHON", "KIZY_COMFYUI_KEY"}
    known = {variable for _, variable in names_and_variables()} | others
    assert set(re.findall(r"KIZY_\w+", page)) <= known
