"""The command line: `hullspeed …`, also `python -m app`. Thin: heavy imports happen inside the commands."""

from __future__ import annotations

import sys

import typer

from app.cli import bench, calibrate, calls, check, contract, demo, ledger, mock, route, serve, stats, train, tune
from app.core.errors import ConfigError, HullspeedError

app = typer.Typer(
    name="hullspeed",
    help="A live LLM routing proxy with its own benchmark: the router that is scored is the router that serves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("check")(check.check)
app.command("demo")(demo.demo)
app.command("mock")(mock.mock)
app.command("conform")(contract.conform)
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("calibrate")(calibrate.calibrate)
app.command("route")(route.route)
app.command("migrate")(ledger.migrate)
app.command("stats")(stats.stats)
app.add_typer(calls.app, name="calls")
app.add_typer(bench.app, name="bench")
app.add_typer(ledger.app, name="ledger")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hullspeed {version('hullspeed')}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print it.")) -> None:
    """Options of the program itself."""


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration; errors are one line."""
    try:
        app()
    except ConfigError as error:
        print(f"hullspeed: {error.message}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except HullspeedError as error:
        print(f"hullspeed: {error.message}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        print("hullspeed: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
