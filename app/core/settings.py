"""Settings from the environment. Every option of `hullspeed serve` is also `HULLSPEED_*`; `.env` is read."""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from dotenv import load_dotenv
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.errors import ConfigError


def default_data_dir() -> Path:
    """The user's data folder; where its path holds a blank (macOS), which the embedded Postgres cannot bear, the
    folder that the XDG base directory specification names."""
    folder = Path(platformdirs.user_data_dir("hullspeed", appauthor=False))
    return folder if " " not in str(folder) else Path.home() / ".local" / "share" / "hullspeed"


class Settings(BaseSettings):
    """Where and how to serve. What is served stands in the config file (`app.core.config`)."""

    model_config = SettingsConfigDict(env_prefix="HULLSPEED_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    """Address to bind. Anything but loopback needs a key."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port to bind; 0 takes a free one."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that serve on the port together."""
    api_key: SecretStr | None = None
    """The key clients must send; guards everything but /healthz, /readyz and /metrics."""
    admin_key: SecretStr | None = None
    """The key for the pages and for reading calls, where clients are not to see them; without it, `api_key` is."""
    config: Path | None = None
    """YAML file: litellm's `model_list`, and `routing:` and `ledger:` of ours."""
    data_dir: Path = Field(default_factory=default_data_dir)
    """Everything that is kept: embedded Postgres, journal, artifacts, reports."""
    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "HULLSPEED_DATABASE_URL")
    )
    """A Postgres to use; without one an embedded server is run under `data_dir`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    log_format: Literal["text", "json"] = "text"
    """`json`: an object a line."""
    max_body_bytes: Annotated[int, Field(gt=0)] = 32 * 1024 * 1024
    """Largest request body; larger ones get 413."""
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long streams may go on after SIGTERM."""
    reload_seconds: Annotated[float, Field(ge=0)] = 2.0
    """How often `serve` looks whether the config file or an artifact has changed; 0: only on SIGHUP."""
    allow_code: bool = False
    """Whether `hullspeed bench` may run code that came with a suite or a model's reply: the grader `code`, and files
    that a suite names as graders."""

    @field_validator("api_key", "admin_key", "database_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @cached_property
    def is_loopback(self) -> bool:
        """True where only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def load_settings(**overrides: Any) -> Settings:
    """Settings from `.env`, the environment and `overrides` (None means not given), the last one winning.

    Raises `ConfigError` that names the variable.
    """
    load_dotenv(Path.cwd() / ".env")
    given = {name: value for name, value in overrides.items() if value is not None}
    if "database_url" in given:
        given["DATABASE_URL"] = given.pop("database_url")
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        variable = name if name.isupper() else f"HULLSPEED_{name.upper()}"
        raise ConfigError(f"{variable}: {first['msg']}", param=variable) from None


OF_OTHERS = frozenset({"HULLSPEED_BASE_URL"})
"""Set for harnesses that ask a proxy (inspect_ai's `openai-api/hullspeed/…`), not for one."""


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for each variable `HULLSPEED_*` that is none of the settings: most likely one that was mistyped."""
    known = [f"HULLSPEED_{name.upper()}" for name in Settings.model_fields]
    found = []
    for name in sorted(environ):
        if name.startswith("HULLSPEED_") and name not in known and name not in OF_OTHERS:
            near = difflib.get_close_matches(name, known, n=1)
            found.append(f"{name} is not known" + (f"; did you mean {near[0]}?" if near else ""))
    return found
