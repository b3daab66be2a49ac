"""Hosts a gateway that comes as a Python package, in the interpreter that has it: `host.py NAME CONFIG FILE`.

Both are HTTP servers in Rust with threads of their own; Python only starts them and then sleeps. The port is written
to FILE.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit


def main(name: str, config: str, file: Path) -> None:
    """Serve until the process is ended."""
    if name == "tensorzero":
        import tensorzero  # type: ignore[import-not-found]

        server = tensorzero._start_http_gateway(
            config_file=config, clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
        )
    else:
        from switchyard_rust.server import Server  # type: ignore[import-not-found]

        server = Server(config, 0)
    file.write_text(f"{urlsplit(server.base_url).port}\n")
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
