"""A program of a model's, run with tests of a suite's, where it can do no harm.

bubblewrap (github.com/containers/bubblewrap) gives it namespaces of its own: no network, none of the machine's
processes, of its files the interpreter and its libraries alone and these read-only, an empty environment, no
privileges and no way to get them (no user namespaces within), and one folder in memory of limited size. Limits of the
operating system hold its memory, its time, its files and its processes; on the wall's time everything in it is killed.
Run as root, bubblewrap is started as `nobody`, since the limit on processes does not bind root.

What counts as passed: the harness ends with 0 and hands back a token, which it fetches from a socket after the last
test. So nothing that a program prints, no early exit, crash or closed file passes its tests. What is not claimed: a
program and its tests share one interpreter, and a program that knows this harness and goes for it (looks for the
socket, replaces what the tests call) can pass without solving anything. Nor that the kernel has no holes. A suite whose
replies come from an adversary belongs on a machine of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.core.errors import ConfigError

MIB = 1 << 20
SHOWN = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache", "/nix/store")
"""Where the interpreter's libraries may lie."""
HARNESS = Path(__file__).with_name("harness.py")
FOLDER = "/work"
NOBODY = 65534
END_SECONDS = 10
OUTPUT = 10_000
"""Bytes of what a program prints that are kept, the last ones."""

_room = threading.BoundedSemaphore(max(1, os.cpu_count() or 1))
"""As many programs at once as there are cores, so that none runs out of time because of the others."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use. Memory and time of the processor count for each process."""

    cpu_seconds: int = 10
    wall_seconds: float = 30.0
    memory: int = 512 * MIB
    disk: int = 32 * MIB
    """All of its files together, and what it prints; they are kept in memory."""
    files: int = 64
    """Open at a time."""
    processes: int = 8
    """Threads count too, and so does the one that the program begins with, and its keeper."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a program."""

    outcome: Literal["passed", "failed", "timeout"]
    output: str
    """What it printed, and why it failed; the end of it."""


def run(programs: Sequence[str], tests: str, limits: Limits | None = None) -> Ran:
    """Run one of `programs`, the first that defines something, then `tests` in its name space.

    Only the standard library is there. Blocks. Raises `ConfigError` where there is no bubblewrap.
    """
    limits = limits or Limits()
    bubblewrap = _bubblewrap()
    token = secrets.token_hex(16).encode()
    ours, theirs = socket.socketpair()
    told, tells = socket.socketpair()
    with _room, ours, theirs, told, tells, tempfile.TemporaryFile() as job, tempfile.TemporaryFile() as output:
        ours.sendall(token)
        asked = {"programs": list(programs), "tests": tests, "limits": _limits(limits), "channel": theirs.fileno()}
        job.write(json.dumps(asked).encode())
        job.seek(0)
        nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        process = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603 – what is not ours is held by it
            [bubblewrap, "--info-fd", str(tells.fileno()), *_walls(limits), *_harness()],
            stdin=job,
            stdout=output,
            stderr=output,
            env={},
            cwd="/",
            pass_fds=(theirs.fileno(), tells.fileno()),
            **nobody,
        )
        tells.close()
        first = _first_process(told)
        try:
            code = process.wait(limits.wall_seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.kill()
            process.wait()
            _wait_for_the_end(first)
        ours.setblocking(False)
        try:
            passed = code == 0 and ours.recv(1000) == token
        except BlockingIOError:
            passed = False
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - OUTPUT))
        printed = output.read(OUTPUT).decode("utf-8", "replace")
    # 128 + SIGXCPU, as bubblewrap reports it.
    late = code is None or code == 152
    return Ran("passed" if passed else "timeout" if late else "failed", printed)


def check_sandbox() -> None:
    """Raise `ConfigError` where this machine cannot hold a program, by letting it hold an empty one."""
    try:
        tried = run([""], "assert True")
    except OSError as error:
        tried = Ran("failed", str(error))
    if tried.outcome != "passed":
        said = " ".join(tried.output.split())[-300:]
        raise ConfigError(
            f"grader `code`: bubblewrap cannot cut a program off from this machine ({said or tried.outcome}); it needs "
            "user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu; in Docker "
            "--security-opt seccomp=unconfined --security-opt systempaths=unconfined) and an interpreter that anybody "
            "may read"
        )


def _bubblewrap() -> str:
    found = shutil.which("bwrap")
    if found is None:
        raise ConfigError(
            "grader `code` runs replies in bubblewrap, and there is no `bwrap` here: apt install bubblewrap "
            "(Linux only; elsewhere, grade in a container)"
        )
    return found


def _first_process(told: socket.socket) -> int | None:
    """A descriptor (pidfd_open(2)) of the sandbox's first process; None where it did not come to that."""
    said = b""
    # Not to the end of the stream: whoever else has inherited it may keep it open.
    while not said.rstrip().endswith(b"}") and (part := told.recv(4096)):
        said += part
    try:
        return os.pidfd_open(json.loads(said)["child-pid"])
    except (ValueError, KeyError, ProcessLookupError):
        return None


def _wait_for_the_end(first: int | None) -> None:
    """Until nothing that was started in the sandbox runs: its first process ends when the kernel has ended the others,
    which is a moment after bubblewrap has."""
    if first is None:
        return
    try:
        poll = select.poll()
        poll.register(first, select.POLLIN)
        poll.poll(END_SECONDS * 1000)
    finally:
        os.close(first)


def _harness() -> list[str]:
    return [_interpreter(), "-I", "-S", "-B", "-X", "utf8", "-c", HARNESS.read_text(encoding="utf-8")]


def _interpreter() -> str:
    return os.path.realpath(sys.executable)


def _walls(limits: Limits) -> list[str]:
    """bubblewrap's options."""
    command = ["--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    command += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox"]
    command += ["--die-with-parent", "--new-session", "--clearenv"]
    for name, value in (("PATH", "/usr/bin:/bin"), ("HOME", FOLDER), ("TMPDIR", FOLDER), ("LANG", "C.UTF-8")):
        command += ["--setenv", name, value]
    for place in (*SHOWN, *_outermost(sys.base_prefix, sys.base_exec_prefix, str(Path(_interpreter()).parent))):
        command += ["--ro-bind-try" if place in SHOWN else "--ro-bind", place, place]
    command += ["--proc", "/proc", "--dev", "/dev"]
    command += ["--size", str(limits.disk), "--tmpfs", FOLDER, "--chdir", FOLDER]
    # Both are writable memory of no limited size otherwise.
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/"]


def _limits(limits: Limits) -> dict[str, int]:
    """By the names of setrlimit(2)."""
    return {
        "CPU": limits.cpu_seconds,
        "AS": limits.memory,
        "FSIZE": limits.disk,
        "NOFILE": limits.files,
        "NPROC": limits.processes,
        "CORE": 0,
    }


def _outermost(*paths: str) -> list[str]:
    """The folders, without those within another of them or within what is shown anyway."""
    found: list[Path] = []
    for path in sorted({Path(path).resolve() for path in paths}, key=lambda path: len(path.parts)):
        covered = any(path.is_relative_to(other) for other in (*found, *map(Path, SHOWN)))
        if not covered and path != Path("/"):
            found.append(path)
    return [str(path) for path in found]
