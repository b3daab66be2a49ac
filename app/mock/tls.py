"""Certificates made when they are needed: one that a client of our authority accepts, and one that has expired.

With the `openssl` program, which nearly every machine has: a library for it would be a dependency of every install.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.core.errors import ConfigError

_CONFIG = """\
[ca]
default_ca = mock
[mock]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = policy
x509_extensions = names
[policy]
commonName = supplied
[names]
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Certificates:
    """Files of an authority of our own, and what a server needs to use it."""

    authority: Path
    """PEM; a client that is to accept the mock trusts this."""
    good: ssl.SSLContext
    expired: ssl.SSLContext


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and two certificates for localhost in `folder`, which is made where it is missing.

    Raises `ConfigError` where `openssl` is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "openssl.cnf").write_text(_CONFIG)
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    _openssl(folder, "req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "7", "-subj", "/CN=mock CA")
    now = datetime.now(UTC)
    day = timedelta(days=1)
    good = _certificate(folder, "good", now - day, now + 7 * day)
    # Two subjects, since an authority keeps one valid certificate a name.
    expired = _certificate(folder, "expired", now - 9 * day, now - 2 * day)
    return Certificates(folder / "ca.pem", good, expired)


def _certificate(folder: Path, name: str, start: datetime, end: datetime) -> ssl.SSLContext:
    _openssl(folder, "req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    _openssl(
        folder, "ca", "-config", "openssl.cnf", "-batch", "-notext", "-cert", "ca.pem", "-keyfile", "ca.key",
        "-in", f"{name}.csr", "-out", f"{name}.pem", "-startdate", _utc(start), "-enddate", _utc(end),
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%SZ")


def _openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise ConfigError("certificates are made with `openssl`, which is not on the PATH: install it")
    done = subprocess.run((program, *arguments), cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no reason given"]
        raise ConfigError(f"`openssl {arguments[0]}` failed: {words[-1]}")
