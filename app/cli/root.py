"""The command line: `hullspeed …`, also `python -m app`. Thin: heavy imports happen inside the commands."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence

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


def narrowed(app: typer.Typer, words: Sequence[str]) -> typer.Typer:
    """`app` with the one command that `words` begin with; with all where they begin with none, as for help.

    typer makes options and help of every command that it has: a tenth of a second for all of them.
    """
    name = words[0] if words else ""
    commands = [command for command in app.registered_commands if command.name == name]
    groups = [group for group in app.registered_groups if group.name == name]
    if not commands and not groups:
        return app
    found = copy.copy(app)
    found.registered_commands, found.registered_groups = commands, [copy.copy(group) for group in groups]
    for group in found.registered_groups:
        if group.typer_instance is not None:
            group.typer_instance = narrowed(group.typer_instance, words[1:])
    return found


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration; errors are one line."""
    try:
        narrowed(app, sys.argv[1:])()
    except ConfigError as error:
        print(f"hullspeed: {error.message}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except HullspeedError as error:
        print(f"hullspeed: {error.message}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        print("hullspeed: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
