"""The deployment files, as far as they can be checked without a container engine: they parse, they agree with each
other and with the code, and everything they name exists."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.settings import Settings

ROOT = Path(__file__).parents[1]
DASHBOARDS = ROOT / "app/pages/dashboards"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines()) if name]


def only(name: str) -> str:
    """The one instruction of that name in the last stage."""
    every = instructions()
    last = max(index for index, (what, _) in enumerate(every) if what == "FROM")
    (found,) = [rest for what, rest in every[last:] if what == name]
    return found


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(only("ENV")))


def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def dashboard() -> Any:
    return json.loads((DASHBOARDS / "grafana/hullspeed.json").read_text())


def known_variables() -> set[str]:
    own = {f"HULLSPEED_{name.upper()}" for name in Settings.model_fields}
    return own | {"DATABASE_URL"}


# ---------------------------------------------------------------------- Dockerfile


def test_everything_copied_exists_and_is_sent() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    for source in copied:
        assert (ROOT / source).exists(), source


def test_every_package_is_checked_against_a_hash() -> None:
    commands = [
        command.strip() for name, rest in instructions() if name == "RUN" for command in re.split(r"&&|;", rest)
    ]
    installing = [command for command in commands if re.search(r"\bpip (install|sync)|uv build", command)]
    assert len(installing) == 4
    for command in installing:
        # What is installed without its dependencies is the wheel built a line before.
        assert "--require-hashes" in command or ("--no-deps" in command and command.endswith("/tmp/wheel/*.whl"))


def test_the_build_backend_is_locked() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text()
    assert re.search(r"^hatchling==\S+ \\\n\s+--hash=sha256:", lock, re.MULTILINE)


def test_image_runs_as_a_user_and_stops_in_good_order() -> None:
    assert only("USER") not in ("root", "0")
    assert json.loads(only("ENTRYPOINT")) == ["hullspeed"]
    assert json.loads(only("CMD")) == ["serve"]
    assert only("STOPSIGNAL") == "SIGTERM"
    environment = image_environment()
    assert only("VOLUME") == environment["HULLSPEED_DATA_DIR"] == "/data"
    assert only("EXPOSE") == environment["HULLSPEED_PORT"]


def test_image_names_settings_that_exist() -> None:
    own = {name for name in image_environment() if name.startswith("HULLSPEED_")}
    assert own <= known_variables()


def test_image_refuses_to_serve_without_a_key(tmp_path: Path) -> None:
    environment = {name: value for name, value in image_environment().items() if name.startswith("HULLSPEED_")}
    environment |= {"HULLSPEED_DATA_DIR": str(tmp_path), "HULLSPEED_PORT": "0", "PATH": os.defpath}
    # A model to serve, so that the key is all that is missing.
    environment |= {"OPENAI_API_KEY": "sk-nowhere", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "app", "serve"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode != 0
    assert "HULLSPEED_API_KEY" in done.stderr
    assert list(tmp_path.iterdir()) == []


class Health(BaseHTTPRequestHandler):
    """Answers /healthz, and anything else with 404."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep quiet."""


@contextmanager
def healthy() -> Iterator[int]:
    """The port of a server that is well."""
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_healthcheck_command() -> None:
    check = only("HEALTHCHECK")
    python, *arguments = json.loads(check[check.index("CMD") + 3 :])
    assert python == "python"

    def run(port: int) -> int:
        # A proxy in the environment must not be asked.
        environment = {"HULLSPEED_PORT": str(port), "http_proxy": "http://127.0.0.1:9", "PATH": os.defpath}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
        return done.returncode

    with healthy() as port:
        assert run(port) == 0
    with socket.socket() as bound:  # bound and not listening: nobody can answer there
        bound.bind(("127.0.0.1", 0))
        assert run(bound.getsockname()[1]) != 0


# ---------------------------------------------------------------------- docker-compose.yml


def test_services_and_profiles() -> None:
    services = compose()["services"]
    optional = {name for name, service in services.items() if service.get("profiles")}
    assert set(services) == {"proxy", "postgres", "prometheus", "grafana"}
    assert optional == {"prometheus", "grafana"}
    assert services["postgres"]["image"] == "postgres:18"
    assert "pg_isready" in services["postgres"]["healthcheck"]["test"]


def test_images_are_pinned_and_name_no_registry() -> None:
    images = [service["image"] for service in compose()["services"].values() if "build" not in service]
    images += [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    for image in images:
        name, _, tag = image.partition(":")
        assert tag
        assert tag != "latest"
        assert "." not in name


def test_ports_are_published_on_loopback_only() -> None:
    for service in compose()["services"].values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_mounts_exist() -> None:
    document = compose()
    mounts = [mount for service in document["services"].values() for mount in service.get("volumes", ())]
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith(".")}
    assert named == set(document["volumes"])
    for mount in mounts:
        if mount.startswith("."):
            source, _, mode = mount.split(":")
            assert (ROOT / source).exists(), source
            assert mode == "ro"


def test_secrets_must_be_set_and_are_explained() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required == {"HULLSPEED_API_KEY", "POSTGRES_PASSWORD"}
    explained = dict(re.findall(r"^(#?\w+)=(.*)$", example, re.MULTILINE))
    # Empty, so that a copy that was not filled in is refused.
    assert {name for name in explained if not name.startswith("#")} == required
    assert all(explained[name] == "" for name in required)
    used = set(re.findall(r"\$\{(\w+)", text))
    passed_on = {name for name, value in compose()["services"]["proxy"]["environment"].items() if value is None}
    assert used | passed_on <= {name.removeprefix("#") for name in explained}


def test_examples_are_settings_with_their_defaults() -> None:
    example = (ROOT / ".env.example").read_text()
    for name, value in re.findall(r"^#?(HULLSPEED_\w+)=(.*)$", example, re.MULTILINE):
        assert name in known_variables()
        default = Settings.model_fields[name.removeprefix("HULLSPEED_").lower()].default
        if value:
            assert str(default) in (value, f"{value}.0")


def test_environment_of_the_proxy() -> None:
    proxy = compose()["services"]["proxy"]
    own = {name for name in proxy["environment"] if name.startswith("HULLSPEED_")}
    assert own <= known_variables()
    assert "@postgres:5432/hullspeed" in proxy["environment"]["DATABASE_URL"]
    # The proxy must outlive Postgres, so it must not wait for it to be well either.
    assert proxy["depends_on"]["postgres"]["condition"] == "service_started"
    assert int(proxy["stop_grace_period"].removesuffix("s")) > Settings.model_fields["drain_seconds"].default


# ---------------------------------------------------------------------- Prometheus and Grafana


def test_prometheus_scrapes_the_proxy_and_reads_the_rules() -> None:
    config = yaml.safe_load((DASHBOARDS / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"proxy:{only('EXPOSE')}"]}]
    mounts = dict(mount.split(":")[:2] for mount in compose()["services"]["prometheus"]["volumes"])
    (rules,) = config["rule_files"]
    assert mounts["./app/pages/dashboards/rules.yml"] == rules


def test_grafana_is_provisioned() -> None:
    provisioning = DASHBOARDS / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    named = {panel["datasource"]["uid"] for panel in dashboard()["panels"] if "datasource" in panel}
    named |= {variable["datasource"]["uid"] for variable in dashboard()["templating"]["list"]}
    assert named == {source["uid"]}

    (provider,) = yaml.safe_load((provisioning / "dashboards/hullspeed.yml").read_text())["providers"]
    grafana = compose()["services"]["grafana"]
    targets = {mount.split(":")[0]: mount.split(":")[1] for mount in grafana["volumes"]}
    mounted = targets["./app/pages/dashboards/grafana/hullspeed.json"]
    assert str(Path(mounted).parent) == provider["options"]["path"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == mounted


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml", ".env.example", "app/pages/dashboards"])
def test_no_secrets_and_no_foreign_hosts(name: str) -> None:
    path = ROOT / name
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    ours = ("127.0.0.1*", "prometheus:*")
    for file in files:
        for host in re.findall(r"https?://([^/\s'\"]+)", file.read_text()):
            assert any(fnmatch.fnmatch(host, pattern) for pattern in ours), f"{file.name}: {host}"
