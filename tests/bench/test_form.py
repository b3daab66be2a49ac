"""A form and the command it is made into."""

from __future__ import annotations

import shlex

import pytest

from app.bench.aside import last_words, shell
from app.bench.form import Grounds, RunForm
from app.cli.bench import app as bench_cli

GROUNDS = Grounds(
    models=("a", "b"), categories=("c", "d"), graders=("answer",), known=True, served=("knn", "mine"), allow_code=False
)


@pytest.mark.parametrize(
    ("form", "command"),
    [
        (
            RunForm(suite="s", routers=("knn",), more=" ridge \n\nknn:k=5"),
            "hullspeed bench run s -r knn -r ridge -r knn:k=5 --tradeoffs 0,0.02,0.05,0.1,0.2,0.4,0.7,1 --split test",
        ),
        (
            RunForm(
                suite="two words", routers=("knn",), tradeoffs="0, 1", split="all", seed="7", limit="5", fresh=True
            ),
            "hullspeed bench run 'two words' -r knn --tradeoffs 0,1 --split all --seed 7 --limit 5 --fresh",
        ),
        (
            RunForm(suite="s", upstream="live", routers=("mine",), tradeoffs="0", grader="answer", max_cost="2.5"),
            "hullspeed bench run s -r mine --tradeoffs 0 --split test --grader answer --max-cost 2.5 --url http://x",
        ),
        (
            RunForm(suite="--yes", routers=("--fresh",), tradeoffs="0"),
            "hullspeed bench run --router=--fresh --tradeoffs 0 --split test -- --yes",
        ),
    ],
)
def test_the_command_of_a_form(form: RunForm, command: str) -> None:
    arguments = form.arguments("http://x")
    assert shell(arguments) == command
    assert tuple(shlex.split(command)[1:]) == arguments


def test_a_form_holds_no_option_of_its_own() -> None:
    """Whatever is typed stays a value: the command line takes it apart as it was put together."""
    import typer

    run = typer.main.get_command(bench_cli).commands["run"]  # type: ignore[attr-defined]
    form = RunForm(suite="-x", routers=("--url=http://evil",), grader="--yes", max_cost="-1", limit="--fresh")
    taken = run.make_context("run", list(form.arguments(None)[2:]), resilient_parsing=True).params
    assert (taken["suite"], taken["router"], taken["url"]) == ("-x", ["--url=http://evil"], None)
    assert (taken["grader"], taken["yes"], taken["fresh"]) == ("--yes", False, False)


def test_a_good_form_has_no_problems() -> None:
    assert RunForm(suite="s", routers=("knn", "ridge")).problems(GROUNDS) == {}
    live = RunForm(suite="s", upstream="live", routers=("mine",), max_cost="1")
    assert live.problems(GROUNDS) == {}
    assert live.spends(GROUNDS)
    assert not RunForm(suite="s").spends(GROUNDS)
    assert RunForm(suite="s", grader="judge:a").spends(GROUNDS)


def test_each_problem_stands_at_its_field() -> None:
    form = RunForm(
        suite="s",
        routers=("nothing",),
        tradeoffs="2",
        split_by="leave-out:e",
        seed="²",
        limit="x",
        concurrency="0",
        grader="exactly",
        max_cost="inf",
    )
    found = form.problems(GROUNDS)
    assert list(found) == ["routers", "tradeoffs", "split_by", "seed", "limit", "concurrency", "grader", "max_cost"]
    assert RunForm(suite="s", routers=("knn",)).problems(Grounds(
        models=None, categories=(), graders=(), known=True, served=(), allow_code=False
    )).keys() == {"upstream"}  # fmt: skip


def test_a_run_is_asked_for_again_by_its_spec() -> None:
    spec = {
        "split": "all", "seed": 3, "limit": 10, "routers": ["knn", "knn:k=5"], "tradeoffs": [0.0, 0.25],
        "quality": "grader:answer", "upstream": "recorded", "split_by": "grouped", "items": 10,
    }  # fmt: skip
    form = RunForm.of_spec("s", spec, "answer", ("knn", "ridge"))
    assert form == RunForm(
        suite="s",
        routers=("knn",),
        more="knn:k=5",
        tradeoffs="0,0.25",
        split="all",
        seed="3",
        limit="10",
        split_by="grouped",
    )
    assert RunForm.of_spec("s", {**spec, "quality": "recorded"}, "answer", ()).grader == "recorded"
    assert RunForm.of_spec("s", {**spec, "quality": "recorded"}, None, ()).grader == ""
    assert RunForm.of_spec("s", {**spec, "quality": "grader:per item"}, None, ()).grader == ""


@pytest.mark.parametrize(
    ("said", "last"),
    [
        ("", ""),
        ("replaying: 1\n", "replaying: 1"),
        ("replaying: 1\nhullspeed: stopped\nwarning: late\n", "stopped"),
        ("Traceback (most recent call last):\n  x\nKeyError: 'y'\n", "KeyError: 'y'"),
    ],
)
def test_last_words(said: str, last: str) -> None:
    assert last_words(said) == last
