"""Showing a report where a command was told to: the terminal, a file of JSON, CSV or HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.bench.recording_report import RecordingReport
    from app.bench.report import Report

JsonFileOption = Annotated[Path | None, typer.Option("--json", help="Write the report as JSON; `-`: to the terminal.")]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", help="Write its figures as a CSV table; `-`: to the terminal.")
]
HtmlOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write the report as one HTML file.")]


def show(report: Report, json_file: Path | None, output: Path | None, csv_file: Path | None = None) -> None:
    """Write the report, and a leaderboard of it to the terminal unless JSON or CSV goes there. Raises `ConfigError`."""
    from rich.console import Console

    from app.bench.render_csv import render_csv
    from app.bench.render_html import render_html
    from app.bench.render_terminal import render_leaderboard

    shown = write_tables(report, json_file, None if csv_file is None else render_csv(report), csv_file)
    if output is not None:
        write(output, render_html(report))
    if shown:
        return
    render_leaderboard(report, Console())
    if output is not None:
        typer.echo(f"Report: {output.resolve()}")


def show_recording(report: RecordingReport, json_file: Path | None, output: Path | None, csv_file: Path | None) -> None:
    """The same for a recording, which has no page. Raises `ConfigError`."""
    from rich.console import Console

    from app.bench.recording_report import render_recording
    from app.core.errors import ConfigError

    if output is not None:
        raise ConfigError(
            f"run {report.run} recorded a suite and scored no router, so it has no page: leave -o out, or score "
            f"routers with `hullspeed bench score {report.saved_in[0] if report.saved_in else report.suite}`"
        )
    if not write_tables(report, json_file, None if csv_file is None else report.to_csv(), csv_file):
        render_recording(report, Console())


def write_tables(report: Any, json_file: Path | None, table: str | None, csv_file: Path | None) -> bool:
    """Write a report as JSON and its CSV `table` where they are wanted; True where one went to the terminal."""
    import msgspec

    from app.core.errors import ConfigError

    if to_terminal(json_file) and to_terminal(csv_file):
        raise ConfigError("--json - and --csv - both go to the terminal: write one of them to a file")
    if json_file is not None:
        write(json_file, msgspec.json.encode(report).decode() + "\n")
    if csv_file is not None and table is not None:
        write(csv_file, table)
    return to_terminal(json_file) or to_terminal(csv_file)


def to_terminal(file: Path | None) -> bool:
    """True for `-`."""
    return file is not None and str(file) == "-"


def write(file: Path, text: str) -> None:
    """Write `text` to `file`, or to the terminal for `-`. Raises `ConfigError` where it cannot be written."""
    from app.core.errors import ConfigError

    if to_terminal(file):
        typer.echo(text, nl=False)
        return
    try:
        # Lines end as they were made, on every system.
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}") from None
