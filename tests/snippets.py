"""The fenced blocks of a page, and the whole page as one script that is run as a reader would run it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cli import ask
from tests.cli.program import warm_program

ROOT = Path(__file__).parents[1]
NOT_HERE = ("docker", "pip", "apt", "make", "promtool")
"""Programs that a page may name and that are not run: what they are asked for is written down, and checked."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that it shows, where its first line is a comment that names one."""
        found = re.match(r"# ([\w./-]+\.(?:yaml|py|toml|jsonl|env))(?::.*)?\n", self.text)
        return found[1] if found else None


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks, in order; of one language where it is named."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(kind, text) for kind, text in found if language in (None, kind)]


def commands(page: Path, program: str) -> list[list[str]]:
    """Every command of the shell blocks that runs `program`, as words."""
    lines = "\n".join(block.text for block in blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith(program)]


def script(page: Path) -> str:
    """The page as a shell script: files are written, Python is run, commands are run, in the order of the page."""
    parts = ["set -euo pipefail"]
    for number, block in enumerate(blocks(page)):
        if block.file is not None:
            parts.append(f"mkdir -p $(dirname {block.file})")
            parts.append(f"cat > {block.file} <<'END_{number}'\n{block.text}END_{number}")
        elif block.language == "python":
            parts.append(f"python - <<'END_{number}'\n{block.text}END_{number}")
        elif block.language == "sh":
            parts.append(f"echo 'block {number}' >&2\n{block.text}")
        elif block.language not in ("text", "json", "yaml", "toml"):
            raise AssertionError(f"{page.name}: a block of `{block.language}` is neither run nor known to be output")
    return "\n".join(parts) + "\n"


@dataclass
class Reader:
    """Somebody who follows a page in a folder of their own."""

    folder: Path
    environment: dict[str, str]

    def follow(self, page: Path, python: str = sys.executable, *, fresh: bool = False) -> tuple[str, list[list[str]]]:
        """Run a page; gives what it printed and what was asked of programs that are not here.

        What it serves is served on a free port, and stopped at the end; `fresh`: by a Python that has imported nothing.
        Fails where a command fails.
        """
        tools = self.folder / ".tools"
        tools.mkdir()
        asked = tools / "asked"
        asked.touch()
        _program(tools / "python", f'exec {shlex.quote(python)} "$@"')
        loaded = f"{shlex.quote(sys.executable)} -I -S {shlex.quote(ask.__file__)} {shlex.quote(warm_program().path)}"
        serving = f"{shlex.quote(sys.executable)} -m app" if fresh else loaded
        _program(tools / "hullspeed", _HULLSPEED.format(loaded=loaded, serving=serving, tools=tools))
        for name in NOT_HERE:
            _program(tools / name, f'printf "%q " {name} "$@" >> {asked}; echo >> {asked}')
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        text = script(page).replace("8080", port).replace("http://127.0.0.1:4318", "$COLLECTOR")
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        environment = {
            **kept,
            "PATH": f"{tools}:{self.environment['POSTGRES_BIN']}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "120",
            "HULLSPEED_PORT": port,
            "NO_PROXY": "*",
            **self.environment,
        }
        process = subprocess.Popen(
            ["bash", "-c", text],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=110)
        finally:
            for file in tools.glob("*.pid"):
                _stop(int(file.read_text()))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        assert process.returncode == 0, said
        assert "Traceback" not in said, said
        return said, [shlex.split(line) for line in asked.read_text().splitlines()]


# `serve` goes on beside the page until its end, and the page goes on once it serves.
_HULLSPEED = """
if [ "${{1:-}}" != serve ]; then
  # Rows come to Postgres a moment after their replies: sooner than anybody types, later than a script goes on.
  for _ in {{1..100}}; do
    [ -n "$(find "$HULLSPEED_DATA_DIR/journal" -name '*.rows' -size +0 2> /dev/null)" ] || break
    sleep 0.1
  done
  exec {loaded} "$@"
fi
log={tools}/serve.$$
for old in {tools}/*.pid; do
  [ -e "$old" ] || continue
  kill "$(cat "$old")"
  while kill -0 "$(cat "$old")" 2> /dev/null; do sleep 0.1; done
  rm "$old"
done
setsid {serving} "$@" > "$log" 2>&1 < /dev/null &
echo $! > {tools}/serve.$$.pid
until grep -q "Hullspeed serves on" "$log"; do
  kill -0 $! 2> /dev/null || {{ cat "$log"; exit 1; }}
  sleep 0.1
done
cat "$log"
"""


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def _stop(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
