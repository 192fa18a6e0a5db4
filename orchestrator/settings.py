"""What can be set: by environment (KIZY_...), then by kizy.toml in KIZY_HOME, then the defaults.

A setting in a table is named with two underscores in the environment: KIZY_COMFYUI__FOLDER.
docs/settings.md describes all of them; a test compares.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer
from pydantic import field_validator as check
from pydantic import model_validator as check_all
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from ..core.comfyui_address import DEFAULT_PORT, Address
from ..core.errors import InputError
from ..core.home import home

_KIZY_DECIDES = ("--port", "--listen", "--tls-keyfile", "--tls-certfile")
"""Arguments of ComfyUI that would make a server that Kizy starts unreachable for Kizy."""


class ServerSettings(BaseModel):
    """One [[servers]] table: a ComfyUI that somebody else keeps running."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(default="", max_length=80)
    # It may hold a password or a token.
    url: str = Field(repr=False)
    key: SecretStr | None = None
    user: str | None = None
    password: SecretStr | None = None

    @check_all(mode="before")
    @classmethod
    def _from_text(cls, values: Any) -> Any:
        return {"url": values} if isinstance(values, str) else values

    @check_all(mode="after")
    def _usable(self) -> Self:
        # As a ValueError it is told with the place in the file.
        try:
            self.address()
        except InputError as error:
            raise ValueError(error.message.rstrip(".")) from None
        return self

    @field_serializer("url")
    def _shown(self, _url: str) -> str:
        return self.address().url

    def address(self) -> Address:
        """The server; without a name it is called by host and port."""
        key = self.key.get_secret_value() if self.key is not None else None
        login = None
        if self.user is not None or self.password is not None:
            secret = self.password.get_secret_value() if self.password is not None else ""
            login = (self.user or "", secret)
        found = Address(self.name, self.url, key, login)
        return replace(found, name=self.name or urlsplit(found.url).netloc)


class ComfyuiSettings(BaseModel):
    """The [comfyui] table: a ComfyUI that Kizy starts, from a folder on this machine."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    folder: Path | None = None
    interpreter: Path | None = None
    arguments: tuple[str, ...] = ()
    gpus: Literal["auto", "none"] | tuple[int, ...] = "auto"
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)

    @check("folder", "interpreter")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path is not None else None

    @check("arguments", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return _split(value, " ")

    @check("arguments")
    @classmethod
    def _reachable(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for argument in arguments:
            if argument.partition("=")[0] in _KIZY_DECIDES:
                raise ValueError(f"{argument} is decided by Kizy; the setting `port` is yours")
        return arguments

    @check("gpus", mode="before")
    @classmethod
    def _indices(cls, value: Any) -> Any:
        if value in ("auto", "none"):
            return value
        found = _split(value, ",")
        indices = [str(index) for index in found] if isinstance(found, list | tuple) else []
        if not indices or not all(index.isdecimal() for index in indices):
            raise ValueError('give "auto", "none", or indices from 0 such as [0, 1]')
        if len(set(indices)) < len(indices):
            raise ValueError("a GPU is named twice")
        return tuple(int(index) for index in indices)


class RerankSettings(BaseModel):
    """The [loras.rerank] table: a language model that is asked for a second opinion.

    `url`: of a service that speaks OpenAI's protocol; None: nobody is asked.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str | None = None
    model: str | None = None
    key: SecretStr | None = None

    @check("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        return _web_address(url)

    @check_all(mode="after")
    def _whole(self) -> Self:
        if self.url is not None and not self.model:
            raise ValueError("name the `model` that the service at `url` is to ask")
        return self


class LorasSettings(BaseModel):
    """The [loras] table. `folders`: more folders with LoRAs. `a1111`: A1111's or Forge's folder.

    `max`: LoRAs that Kizy combines by itself. `scope_folders`, `scope_tags`: what it may pick
    from; empty: all. `adult`: whether LoRAs marked as adult may be picked and downloaded.
    `background`: whether a process of its own learns them while nobody waits.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    folders: tuple[Path, ...] = ()
    a1111: Path | None = None
    max: int = Field(default=3, ge=0, le=10)
    scope_folders: tuple[str, ...] = ()
    scope_tags: tuple[str, ...] = ()
    adult: bool = False
    background: bool = True
    rerank: RerankSettings = RerankSettings()

    @check("folders", "scope_folders", "scope_tags", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return _split(value, ",")

    @check("folders")
    @classmethod
    def _each_expanded(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(_from_home(path) for path in paths)

    @check("a1111")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        return _from_home(path) if path is not None else None


class CaptionsSettings(RerankSettings):
    """The [trainer.captions] table: a model that sees pictures and describes them.

    `url`: of a service that speaks OpenAI's protocol, up to and with "/v1"; None: nobody is asked.
    """


class TrainerSettings(BaseModel):
    """The [trainer] table. `kohya`: the folder of sd-scripts; `kohya_interpreter`: its Python.

    `interpreter`: the Python that trains for ComfyUI's Train node, which reads it by itself.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    interpreter: Path | None = None
    kohya: Path | None = None
    kohya_interpreter: Path | None = None
    captions: CaptionsSettings = CaptionsSettings()

    @check("interpreter", "kohya", "kohya_interpreter")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path is not None else None


class ServeSettings(BaseModel):
    """The [serve] table: what `kizy serve` listens on, and how much it takes in.

    `upload_mb`: of one picture; `training_mb`: of all files of a training, in megabytes (10^6).
    `one_core`: whether its threads share a processor core, except what computes (on Linux).
    `link_hours`: how long links to finished files open without a key.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: int = Field(default=7433, ge=1, le=65535)
    upload_mb: int = Field(default=256, ge=1, le=100_000)
    training_mb: int = Field(default=4096, ge=1, le=1_000_000)
    one_core: bool = True
    link_hours: float = Field(default=24.0, gt=0, le=24 * 366, allow_inf_nan=False)


class JobsSettings(BaseModel):
    """The [jobs] table. `max_waiting`: jobs that may wait; one more is refused.

    `attempts`: how often a job is begun when what fails is not the job's own fault.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    max_waiting: int = Field(default=1000, ge=1, le=1_000_000)
    attempts: int = Field(default=3, ge=1, le=100)


class StorageSettings(BaseModel):
    """The [storage] table: how long a server keeps what it drew; None: without end.

    `folder`: where; `keep_days`: since a file was last drawn or fetched; `keep_gb`: of all files
    together (10^9 bytes), the oldest go first. `uploads`: where files lie that were handed over,
    for `upload_days`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    folder: Path | None = None
    keep_days: float | None = Field(default=None, gt=0)
    keep_gb: float | None = Field(default=None, gt=0)
    uploads: Path | None = None
    upload_days: float = Field(default=7, gt=0)

    @check("folder", "uploads")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        return _from_home(path) if path is not None else None


class Settings(BaseSettings):
    """`pictures`: where pictures go. `model`: what "auto" takes. `previews`: draw previews.

    `engine`: what draws. `servers`: ComfyUI servers. `comfyui`: the one that Kizy starts.
    `loras`: where LoRAs are, and how they are picked. `trainer`: what training needs.
    `server`: a Kizy server that commands speak to, with `server_key`. `database_url`: where `kizy
    serve` keeps its jobs; None: a file below KIZY_HOME.
    """

    model_config = SettingsConfigDict(
        env_prefix="KIZY_", env_nested_delimiter="__", extra="ignore", frozen=True
    )

    pictures: Path | None = None
    model: str | None = None
    previews: bool = True
    engine: Literal["auto", "comfyui", "embedded"] = "auto"
    servers: tuple[ServerSettings, ...] = ()
    comfyui: ComfyuiSettings = ComfyuiSettings()
    loras: LorasSettings = LorasSettings()
    trainer: TrainerSettings = TrainerSettings()
    server: str | None = None
    server_key: SecretStr | None = None
    database_url: SecretStr | None = None
    serve: ServeSettings = ServeSettings()
    jobs: JobsSettings = JobsSettings()
    storage: StorageSettings = StorageSettings()

    @check("server")
    @classmethod
    def _server(cls, url: str | None) -> str | None:
        return _web_address(url)

    @check("servers", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return _split(value, ",")

    @check("servers")
    @classmethod
    def _distinct(cls, servers: tuple[ServerSettings, ...]) -> tuple[ServerSettings, ...]:
        for what in ("name", "url"):
            seen = [getattr(server.address(), what) for server in servers]
            twice = next((text for text in seen if seen.count(text) > 1), None)
            if twice is not None:
                raise ValueError(f'two servers have the {what} "{twice}"')
        return servers

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, toml_file=home() / "kizy.toml")
        return init_settings, _Environment(settings_cls), file


class _Environment(EnvSettingsSource):
    """The environment, where a list may also be written without JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return json.loads(value)
        except ValueError:
            return value


def load_settings() -> Settings:
    """The settings of this process. Raises InputError `settings_invalid`."""
    try:
        return Settings()
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        # No table is named by a number: "servers.1" is the second one, counted from 1.
        where = [str(x + 1) if isinstance(x, int) else x for x in detail["loc"]]
        text = f"{'.'.join(where)}: {detail['msg'].removeprefix('Value error, ')}"
        raise InputError("settings_invalid", f"A setting is wrong: {text}.") from error
    except SettingsError as error:
        raise InputError("settings_invalid", f"A setting is wrong: {error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("settings_invalid", f"{home() / 'kizy.toml'}: {error}.") from error


def _from_home(path: Path) -> Path:
    """With `~` expanded; a relative path counts from Kizy's folder, wherever Kizy is started."""
    try:
        return home() / path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: there is no such user") from None


def _web_address(url: str | None) -> str | None:
    """Without a slash at its end. Raises ValueError for what is no http(s) address."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give an address that begins with http:// or https://")
    if parts.username is not None or parts.password is not None:
        # Not shown: it holds a password.
        raise ValueError("a key belongs into a setting of its own, not into the address")
    return url.rstrip("/")


def _split(value: Any, separator: str) -> Any:
    """A list that was written as text."""
    if not isinstance(value, str):
        return [value] if isinstance(value, int | dict) else value
    if value.startswith(("[", "{")):
        # Not shown: it may hold a key.
        raise ValueError("this is no valid JSON")
    return [part.strip() for part in value.split(separator) if part.strip()]
