"""Writing a router into a config file so that nothing else in it changes: comments and order stay."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from app.core.config import load_config


def add_router(path: Path, name: str, artifact: Path, tradeoff: float) -> None:
    """Make `name` an entry of `routing.routers` with this artifact, and the default; the file is made if need be.

    Written beside and renamed, after it has been read back as a config. Raises `ConfigError` where it would be none.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    data: Any = yaml.load(path.read_text(encoding="utf-8")) if path.exists() else None
    data = {} if data is None else data
    routing = data.setdefault("routing", {})
    routing["default"] = name
    relative = os.path.relpath(artifact.resolve(), path.resolve().parent)
    routing.setdefault("routers", {})[name] = {"artifact": relative, "tradeoff": tradeoff}
    buffer = io.StringIO()
    yaml.dump(data, buffer)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(buffer.getvalue(), encoding="utf-8")
    try:
        load_config(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
