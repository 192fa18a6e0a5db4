"""What can be set: by environment (KIZY_...), then by kizy.toml in KIZY_HOME, then the defaults."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from ..core.errors import InputError
from ..core.home import home


class Settings(BaseSettings):
    """`pictures`: where pictures go. `model`: what "auto" takes. `previews`: draw previews."""

    model_config = SettingsConfigDict(env_prefix="KIZY_", extra="ignore", frozen=True)

    pictures: Path | None = None
    model: str | None = None
    previews: bool = True

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
        return init_settings, env_settings, file


def load_settings() -> Settings:
    """The settings of this process. Raises InputError `settings_invalid`."""
    try:
        return Settings()
    except (ValidationError, SettingsError) as error:
        detail = error.errors()[0] if isinstance(error, ValidationError) else None
        text = f"{detail['loc'][0]}: {detail['msg']}" if detail else str(error)
        raise InputError("settings_invalid", f"A setting is wrong: {text}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("settings_invalid", f"{home() / 'kizy.toml'}: {error}.") from error
