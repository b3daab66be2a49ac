"""Where Postgres is: a URL as people write it, `postgresql://user:password@host:5432/database?option=value`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from app.core.errors import ConfigError

_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")
_URL = re.compile(
    r"(?P<scheme>[\w+]+)://(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<ipv6>[^/?]+)\]|(?P<host>[^/:?]*))(?::(?P<port>\d*))?(?:/(?P<database>[^?]*))?(?:\?(?P<options>.*))?"
)
_WITH_PORT = re.compile(r"[\w.-]*:\d+")


@dataclass(frozen=True, repr=False)
class Address:
    """The parts of a URL; None where it leaves one to the driver."""

    user: str | None
    password: str | None
    host: str | None
    port: int | None
    database: str | None
    options: Mapping[str, tuple[str, ...]]
    """Of the driver's, by name; more than one value where a name comes again, as `host` may."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises `ConfigError` where `url` is not a Postgres URL."""
        shape = "postgresql://user:password@host:5432/database"
        found = _URL.fullmatch(url.strip())
        if found is None:
            raise ConfigError(f"DATABASE_URL is not a URL; it looks like {shape}.", param="DATABASE_URL")
        if found["scheme"] not in _SCHEMES:
            raise ConfigError(
                f"DATABASE_URL begins with {found['scheme']}://; Hullspeed keeps its data in Postgres: {shape}.",
                param="DATABASE_URL",
            )
        options: dict[str, tuple[str, ...]] = {}
        for name, value in parse_qsl(found["options"] or ""):
            options[name] = (*options.get(name, ()), value)
        return cls(
            user=unquote(found["user"] or "") or None,
            password=unquote(found["password"] or "") or None,
            host=found["ipv6"] or found["host"] or None,
            port=int(found["port"]) if found["port"] else None,
            database=unquote(found["database"] or "") or None,
            options=options,
            url=url,
        )

    url: str
    """As it was given."""

    def arguments(self) -> dict[str, Any]:
        """What `psycopg.connect` takes. Several hosts may come as one `host` each, with or without its port."""
        named = {"user": self.user, "password": self.password, "host": self.host, "port": self.port}
        found: dict[str, Any] = {name: ",".join(values) for name, values in self.options.items()}
        hosts = self.options.get("host", ())
        if "port" not in found and any(map(_WITH_PORT.fullmatch, hosts)):
            parts = [host.rpartition(":") if _WITH_PORT.fullmatch(host) else (host, "", "") for host in hosts]
            found["host"] = ",".join(host for host, _, _ in parts)
            found["port"] = ",".join(port for _, _, port in parts)
        return {name: value for name, value in {**named, "dbname": self.database, **found}.items() if value is not None}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be told."""
        return tuple(secret for secret in (self.password, *self.options.get("password", ())) if secret)

    @property
    def place(self) -> str:
        """Host and port, for people."""
        hosts = self.options.get("host", ())
        host = self.host or ",".join(hosts) or "localhost"
        port = self.port or ",".join(self.options.get("port", ())) or 5432
        return host if any(map(_WITH_PORT.fullmatch, hosts)) else f"{host}:{port}"

    def __str__(self) -> str:
        """For people: never the password."""
        return f"{self.database or self.user or 'postgres'} at {self.place}"

    __repr__ = __str__
