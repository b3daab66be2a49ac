"""The grader `code`: right programs pass, wrong ones do not, and none of them gets at the machine."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bench.graders import GraderContext, GraderFailed, check_grader, check_target, grader_for, judged
from app.bench.graders.code import code, programs
from app.bench.graders.sandbox import MIB, Limits, Ran, check_sandbox, run
from app.bench.suite import Item
from app.core.errors import ConfigError

ROOT = Path(__file__).parents[2]


def _refusal() -> str | None:
    try:
        check_sandbox()
    except ConfigError as error:
        return error.message
    return None


REFUSAL = _refusal()
held = pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL))


def ran(program: str, tests: str = "assert True", **limits: float) -> Ran:
    return run([textwrap.dedent(program)], textwrap.dedent(tests), Limits(**limits))  # type: ignore[arg-type]


def item(target: str | None) -> Item:
    return Item(id="q1", category="c", messages=[], target=target)


# ---------------------------------------------------------------------- switched off, switched on


def test_it_is_off_unless_switched_on() -> None:
    check_grader("code")
    with pytest.raises(ConfigError, match="is switched off: allow it with --allow-code, or set HULLSPEED_ALLOW_CODE=1"):
        grader_for("code")


@held
async def test_it_is_switched_on() -> None:
    grader = grader_for("code", GraderContext(allow_code=True))
    right = await judged(grader, item("assert f(1) == 2"), "```python\ndef f(x):\n    return x + 1\n```")
    assert (right.value, right.cost_usd, right.comment) == (1.0, 0, None)
    wrong = await judged(grader, item("assert f(1) == 2"), "```python\ndef f(x):\n    return x + 2\n```")
    assert wrong.value == 0.0
    assert "AssertionError" in (wrong.comment or "")


@held
async def test_humaneval() -> None:
    grader = grader_for("code", GraderContext(allow_code=True))
    tests = "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n\ncheck(total)"
    check_target("code", tests)
    assert (await judged(grader, item(tests), "def total(numbers):\n    return sum(numbers)")).value == 1.0
    assert (await judged(grader, item(tests), "def total(numbers):\n    return numbers[0]")).value == 0.0


def test_without_bubblewrap_nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="apt install bubblewrap"):
        check_sandbox()
    with pytest.raises(GraderFailed, match=r"grader `code` on item `q1`: .*apt install bubblewrap"):
        code(item("assert True"), "x = 1")


def test_a_machine_that_does_not_let_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # bubblewrap as it fails where user namespaces are forbidden.
    folder = tempfile.TemporaryDirectory()  # pytest's own is root's alone, and bubblewrap is not run as root
    Path(folder.name).chmod(0o755)
    fake = Path(folder.name) / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", folder.name, prepend=os.pathsep)
    assert shutil.which("bwrap") == str(fake)
    with pytest.raises(ConfigError, match=r"cannot cut a program off from this machine \(bwrap: No permissions"):
        check_sandbox()
    folder.cleanup()


@pytest.mark.parametrize("target", ["def f(:", "", "x = 1", "# nothing", "\0", "(" * 500])
def test_targets_that_test_nothing_are_refused(target: str) -> None:
    with pytest.raises(ConfigError, match="target "):
        check_target("code", target)


# ---------------------------------------------------------------------- what counts


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("def f(): pass", ["def f(): pass"]),
        (
            "Here:\n```python\na = 1\n```\nand\n```py\nlonger = 2\n```\nor\n```\nb = 3\n```",
            ["longer = 2\n", "a = 1\n", "b = 3\n"],
        ),
        ("```\na = 1\n```", ["a = 1\n"]),
        ("```bash\npip install x\n```\n```python\na = 1\n```", ["a = 1\n"]),
        ("```Python3\r\na = 1\r\n```", ["a = 1\r\n"]),
        ("```python\na = 1", ["a = 1"]),
        ("```js\n1\n```", ["```js\n1\n```"]),
    ],
)
def test_the_program_of_a_reply(reply: str, found: list[str]) -> None:
    assert programs(reply) == found


@held
def test_tests_may_be_statements_functions_or_cases() -> None:
    program = """
        from dataclasses import dataclass
        @dataclass
        class Point:
            x: "int"
        def double(n):
            return 2 * n
        if __name__ == "__main__":
            raise SystemExit(input())
    """
    function = "def test_it():\n    assert double(2) == {}"
    case = "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(double(2), {})"
    for tests in ("assert double(Point(2).x) == {}", function, case):
        assert ran(program, tests.format(4)).outcome == "passed"
        wrong = ran(program, tests.format(5))
        assert wrong.outcome == "failed"
        assert "Assertion" in wrong.output


@held
def test_the_first_program_that_defines_something_is_run() -> None:
    assert run(["This is it:", "x = \ud800", "x = 1", "x = 2"], "assert x == 1").outcome == "passed"
    shown, defined = "print(f(1))", "def f(n):\n    return n"
    assert run([shown, defined], "assert f(2) == 2").outcome == "passed", "the last fence only shows how to call it"
    none = run(["This is it:"], "assert True")
    assert none.outcome == "failed"
    assert "SyntaxError" in none.output


@held
@pytest.mark.parametrize(
    "program",
    [
        *("import sys; sys.exit(0)", "import os; os._exit(0)", "raise KeyboardInterrupt", "import os; os.kill(0, 9)"),
        *("import os; os.closerange(3, 64)", "import os; os.abort()", "assert False", "1 +"),
        *("import numpy", "import app", "def f(): return f()\nf()", "input()"),
        # What a program prints, and what it writes wherever it may, is no verdict.
        "import os\nfor n in (1, 2):\n  os.write(n, b'passed 0123456789abcdef0123456789abcdef')\nos._exit(0)",
        "import os\nfor n in range(3, 64):\n  try: os.write(n, b'0' * 32)\n  except OSError: pass\nos._exit(0)",
        "import atexit, os, threading\nthreading.Timer(0, lambda: os._exit(0)).start()\nwhile True: pass",
    ],
)
def test_a_program_that_ends_before_its_tests_has_not_passed_them(program: str) -> None:
    assert ran(program, "assert 1").outcome == "failed"


# ---------------------------------------------------------------------- what it cannot do


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A server on loopback that counts who comes."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    came.append(connection.recv(100))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@held
def test_there_is_no_network(listener: tuple[int, list[bytes]]) -> None:
    port, came = listener
    program = f"""
        import socket
        def reach():
            with socket.create_connection(("127.0.0.1", {port}), timeout=5) as connection:
                connection.sendall(b"from inside")
        try:
            reached = reach() or True
        except OSError as error:
            reached = False
        interfaces = [name for _, name in socket.if_nameindex()]
    """
    assert ran(program, "assert not reached; assert interfaces == ['lo']").outcome == "passed"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"from outside")
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
    assert came == [b"from outside"], "the same server can be reached, but not from inside"


@held
def test_time_is_limited() -> None:
    assert ran("while True: pass", cpu_seconds=1).outcome == "timeout"
    assert ran("import time; time.sleep(60)", wall_seconds=0.5).outcome == "timeout"
    # Nothing but its end tells that it is over: all it could be heard by is closed.
    assert (
        ran(
            "import os, time\nfor n in range(64):\n  try: os.close(n)\n  except OSError: pass\ntime.sleep(60)",
            wall_seconds=0.5,
        ).outcome
        == "timeout"
    )


@held
def test_memory_is_limited() -> None:
    program = """
        try:
            held = bytearray(1 << 30)
        except MemoryError:
            held = None
    """
    assert ran(program, "assert held is None", memory=256 * MIB).outcome == "passed"
    assert ran(program, "assert held is not None", memory=2048 * MIB).outcome == "passed", "and this much fits"


@held
def test_processes_are_limited_and_none_outlives_the_program() -> None:
    marker, nap = f"left-behind-{os.getpid()}", "import time; time.sleep(60)"
    program = f"""
        import os, sys
        children = 0
        try:
            while children < 200:
                if os.fork() == 0:
                    os.setsid()
                    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", {nap!r}, "{marker}"])
                children += 1
        except OSError:
            pass
    """
    assert ran(program, "assert 0 < children < 8, children").outcome == "passed"
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    assert lines
    assert not [line for line in lines if marker.encode() in line]


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


@held
def test_secrets_of_the_environment_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-secret")
    program = """
        import glob, os, subprocess, sys
        names = sorted(set(os.environ) - {"PWD", "LC_CTYPE"})
        code = "import os; print(dict(os.environ))"
        child = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True).stdout
        others = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                others.append(open(path, "rb").read())
            except OSError:
                pass
    """
    tests = """
        assert names == ["HOME", "LANG", "PATH", "TMPDIR"], names
        assert "PATH" in child and "planted" not in child, child
        assert others and not any(b"planted" in environ for environ in others), others
    """
    result = ran(program, tests)
    assert result.outcome == "passed", result.output


@held
def test_files_of_the_machine_are_not_seen(tmp_path: Path) -> None:
    planted = tmp_path / "secret"
    planted.write_text("planted")
    planted.chmod(0o644)
    machine = ["/etc/passwd", "/../etc/passwd", "/sys", "/run", "/var", "/tmp"]
    paths = [str(planted), str(ROOT / "pyproject.toml"), *machine]
    result = ran(f"import os\nseen = [path for path in {paths!r} if os.path.exists(path)]", "assert seen == [], seen")
    assert result.outcome == "passed", result.output


@held
def test_what_it_writes_does_not_survive(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    places = [str(tmp_path / "left"), "/left", "/usr/left", "/dev/left", "/dev/shm/left", f"{sys.base_prefix}/left"]
    program = f"""
        import os, tempfile
        refused = []
        for place in {places!r}:
            try:
                open(place, "w").write("left")
            except OSError:
                refused.append(place)
        with open("inside", "w") as file:
            file.write("kept")
        inside = open("inside").read()
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x")
    """
    result = ran(program, f"assert refused == {places!r}, refused; assert inside == 'kept'")
    assert result.outcome == "passed", result.output
    assert not [place for place in places if Path(place).exists()]
    assert ran("import os", "assert os.listdir('.') == []").outcome == "passed", "each begins with an empty folder"


@held
def test_disk_and_output_are_limited() -> None:
    program = """
        full = False
        try:
            for number in range(10):
                with open(f"file{number}", "wb") as file:
                    file.write(b"x" * 1_000_000)
        except OSError:
            full = True
    """
    assert ran(program, "assert full", disk=4 * MIB).outcome == "passed"
    result = ran("print('x' * 5_000_000, flush=True)", "assert False, 'the end'")
    assert result.outcome == "failed"
    assert len(result.output) <= 10_000
    assert "the end" in result.output
    assert ran("while True: print('x' * 100_000)", disk=4 * MIB).outcome == "failed"


@held
def test_privileges_cannot_be_had() -> None:
    program = """
        import ctypes, os
        libc = ctypes.CDLL(None)
        mounted = libc.mount(b"none", b".", b"tmpfs", 0, b"")
        try:
            os.setuid(0)
            root = True
        except OSError:
            root = False
    """
    assert (
        ran(
            program,
            "assert mounted == -1; assert not root; assert os.getuid() != 0; assert libc.unshare(0x10000000) == -1",
        ).outcome
        == "passed"
    )


PIECES = st.lists(
    st.sampled_from(["```", "```python\n", "```py", "\n", "x = 1", "\0", "\ud800", "def f(", ":", "    ", "(", "é"]),
    max_size=12,
).map("".join)


@given(reply=PIECES)
@settings(max_examples=300, deadline=None)
def test_any_reply_has_a_program_to_try(reply: str) -> None:
    found = programs(reply)
    assert found
    assert all(isinstance(program, str) for program in found)


@held
@given(reply=PIECES | st.text(max_size=40))
@settings(max_examples=8, deadline=None)
def test_no_text_breaks_it(reply: str) -> None:
    assert code(item("assert False"), reply).value == 0.0
