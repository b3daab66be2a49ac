"""Other gateways, each in an environment of its own in the user's cache folder, with its bytecode compiled.

Those in Python run on the interpreter that the benchmark runs on: one that was built without optimisation is a third
slower, which would be held against a gateway. Versions are fixed, and no file of them is younger than a week: most
malicious uploads are found within days.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import platformdirs

MALICIOUS = ("1.82.7", "1.82.8")
"""Versions of litellm that carried a credential stealer."""
PORTKEY = "1.15.2"
TENSORZERO = "2026.6.0"
SWITCHYARD = "0.3.0"
_UV = Path(__file__).parents[1] / ".uv" / "bin" / "uv"


class NotInstalled(Exception):
    """A gateway cannot be had on this machine; says why."""


def litellm_proxy() -> Path:
    """The program `litellm`, in the version that Hullspeed itself is locked to."""
    wanted = version("litellm")
    assert wanted not in MALICIOUS
    return _python(f"litellm-proxy-{wanted}", f"litellm[proxy]=={wanted}") / "bin" / "litellm"


def tensorzero() -> Path:
    """A Python that has TensorZero's gateway, which its client carries whole."""
    return _python(f"tensorzero-{TENSORZERO}", f"tensorzero=={TENSORZERO}") / "bin" / "python"


def switchyard() -> Path:
    """A Python that has the server of NVIDIA's Switchyard."""
    return _python(f"switchyard-{SWITCHYARD}", f"nemo-switchyard=={SWITCHYARD}") / "bin" / "python"


def portkey() -> Path:
    """The script of Portkey's gateway, for node."""
    folder = _folder(f"portkey-{PORTKEY}")
    done = folder / "installed"
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotInstalled("node and npm are not installed (apt-get install nodejs npm)")
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run("npm", "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", "--silent",
             "--before", _week_ago(), f"@portkey-ai/gateway@{PORTKEY}")  # fmt: skip
        done.touch()
    return folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def _python(name: str, requirement: str) -> Path:
    """The environment that holds `requirement`, made where it is not there yet."""
    interpreter = sha256(f"{Path(sys.executable).resolve()} {sys.version}".encode()).hexdigest()[:8]
    folder = _folder(f"{name}-{interpreter}")
    done, compiled = folder / "installed", folder / "compiled"
    python = folder / "bin" / "python"
    if not done.exists():
        print(f"installing {requirement} into {folder} …", file=sys.stderr)
        uv = _UV if _UV.exists() else shutil.which("uv")
        if uv is None:
            raise NotInstalled(f"{_UV} is not there: make install makes it")
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder)
        _run(uv, "pip", "install", "--quiet", "--python", python, "--exclude-newer", _week_ago(), requirement)
        done.touch()
    if not compiled.exists():
        # Files that no interpreter of this version can read are among a large package's; they are nobody's concern.
        subprocess.run(
            (python, "-m", "compileall", "-q", "-j0", folder / "lib"), check=False, stdout=subprocess.DEVNULL
        )
        compiled.touch()
    return folder


def _folder(name: str) -> Path:
    return Path(platformdirs.user_cache_dir("hullspeed", appauthor=False)) / "benchmarks" / name


def _week_ago() -> str:
    return (datetime.now(UTC) - timedelta(days=7)).strftime("%Y-%m-%dT00:00:00Z")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise NotInstalled(f"{Path(command[0]).name} could not install it: {done.stdout.strip()[-500:]}")
