"""Every golden number of the metrics' definitions beside what this program measures: `python -m benchmarks.golden`.

The expected figures were computed apart from this program, some of them by other people's code (RouterBench, RouteLLM,
RouterArena). The recorded sets are read through the importer, so what is checked is the whole way from file to figure.
Exits with 1 where a figure differs; a set that is not present is named and left out.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from app.bench.arena import arena_score
from app.bench.baselines import ScoredPool
from app.bench.curves import Frame, aiq, aiq_rb_compat, ndch, oracle
from app.bench.importers import import_outcomes
from app.bench.offpolicy import Log, direct, doubly_robust, ips, snips
from app.bench.pairs import PairCurve
from app.bench.statistics import mcnemar, paired_difference
from routers import Outcomes

FOLDER = Path(os.environ.get("HULLSPEED_SHARED", Path(__file__).parents[2] / "shared")) / "data"
SMALL, BIG, PAIR = "zeroeval_4sets_8models", "zeroeval_gsm_crux_mathl5", "routellm_mmlu_gsm8k_2models"


class Check(NamedTuple):
    """A figure as it should be and as it is."""

    name: str
    expected: str
    """As written in the definitions: its decimals are the precision that is asked for."""
    measured: float

    @property
    def decimals(self) -> int:
        return len(self.expected.partition(".")[2])

    @property
    def holds(self) -> bool:
        """Equal up to the rounding of the expected figure."""
        return bool(abs(self.measured - float(self.expected)) <= 0.51 * 10.0**-self.decimals)


class Absent(Exception):
    """A recorded set is not there."""


Part = Callable[[], Iterator[Check]]


def toy_hulls() -> Iterator[Check]:
    """Hulls and AIQ by hand."""
    a, f = ([1.0, 2, 4, 5], [0.5, 0.7, 0.6, 0.9]), ([0.5, 1, 2, 3, 6], [0.2, 0.6, 0.65, 0.8, 0.81])
    hulls: list[tuple[tuple[list[float], list[float]], str]] = [
        (a, "1,.5 2,.7 5,.9"),
        (([1, 2, 3], [0.5, 0.4, 0.9]), "1,.5 3,.9"),
        (([1, 2, 3], [0.9, 0.5, 0.4]), "1,.9"),
        (f, ".5,.2 1,.6 3,.8 6,.81"),
    ]
    for points, vertices in hulls:
        hull = ndch(*points)
        wanted = [[float(number) for number in vertex.split(",")] for vertex in vertices.split()]
        same = np.column_stack([hull.cost, hull.quality]).tolist() == wanted
        yield Check(f"hull of {len(points[0])} points has the vertices {vertices}", "1", float(same))
    frame = Frame(1, 6, 0.5)
    yield Check("AIQ as RouterBench has it, A", ".65", aiq_rb_compat(*a, reach=6))
    yield Check("AIQ as RouterBench has it, F", ".6691667", aiq_rb_compat(*f, reach=6))
    yield Check("AIQ between fixed limits, A", ".78", aiq(*a, frame))
    yield Check("AIQ between fixed limits, F", ".763", aiq(*f, frame))


def toy_offpolicy() -> Iterator[Check]:
    """Off-policy estimates of five logged choices."""
    policy = [[0.7, 0.2, 0.1], [0.6, 0.1, 0.3], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.5, 0, 0.5]]
    log = Log.of([1, 0, 0, 1, 1], [0, 1, 0, 2, 1], [0.5, 0.25, 0.8, 0.1, 0.4], policy)
    for place, weight in enumerate(("1.4", ".4", ".25", "5", "0")):
        yield Check(f"weight {place + 1}", weight, float(log.weight[place]))
    yield Check("IPS", "1.28", float(ips(log).mean()))
    yield Check("SNIPS", ".907801", snips(log))
    yield Check("IPS clipped at 2", ".68", float(ips(log, cap=2).mean()))
    yield Check("ESS", "1.828474", log.ess)
    predicted = (0.4, 0.5, 0.6)
    yield Check("DM", ".494", float(direct(log, predicted).mean()))
    yield Check("DR", "1.002", float(doubly_robust(log, predicted).mean()))


def arena() -> Iterator[Check]:
    """RouterArena's published scores."""
    published = [(0.061, 0.7123, "71.60"), (0.54, 0.6809, "66.67"), (0.07, 0.3201, "33.75"), (0.29, 0.6841, "67.66")]
    for cost, accuracy, score in published:
        yield Check(f"arena score of {accuracy:.2%} at ${cost:g} per 1k", score, 100 * arena_score(accuracy, cost))


ZERO = {
    SMALL: {
        "all": (".81204", ".82372"),
        "crux": (".79354", ".80617"),
        "gsm": (".93408", ".94873"),
        "math-l5": (".52551", ".53218"),
        "numersense": (".94408", ".96126"),
    },
    BIG: {
        "all": (".79454", ".82994"),
        "crux": (".79772", ".85783"),
        "gsm": (".94443", ".96471"),
        "math-l5": (".54181", ".58465"),
    },
}
SINGLES = {
    SMALL: [
        ("gpt-4o-2024-05-13", ".8496", "4.7501"),
        ("gpt-4o-mini-2024-07-18", ".8010", ".1914"),
        ("gemini-1.5-flash", ".7282", ".0674"),
        ("claude-3-5-sonnet-20240620", ".8037", "3.7445"),
    ],
    BIG: [
        ("claude-3-5-sonnet-20241022", ".8359", "3.4371"),
        ("gpt-4o-2024-08-06", ".8324", "3.3602"),
        ("gpt-4o-mini-2024-07-18", ".7838", ".2101"),
        ("gemma-2-2b-it", ".3113", ".0487"),
        ("claude-3-opus-20240229", ".7359", "17.027"),
    ],
}


def small_set() -> Iterator[Check]:
    """3,352 prompts, 8 models."""
    pool = ScoredPool.of(_outcomes(SMALL))
    yield from _zeroeval(SMALL, pool, size=("3352", "8"), best="gpt-4o-2024-05-13", quality=".9341", free=".31607")
    yield Check("oracle, $ per 1k, none right → cheapest", ".32243", 1000 * pool.oracle.point.cost)
    yield Check("oracle, AIQ", ".9330", aiq(*pool.oracle_curve, pool.frame))
    yield Check("lower limit, $ per 1k", ".0674", 1000 * pool.frame.low)
    yield Check("upper limit, $ per 1k", "4.7501", 1000 * pool.frame.high)
    hull = [pool.models[index] for index in pool.zero.index]
    named = hull == ["gemini-1.5-flash", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-05-13"]
    yield Check("hull of gemini-1.5-flash, gpt-4o-mini, gpt-4o", "1", float(named))


def big_set() -> Iterator[Check]:
    """2,840 prompts, 26 models."""
    outcomes = _outcomes(BIG)
    pool = ScoredPool.of(outcomes)
    yield from _zeroeval(
        BIG, pool, size=("2840", "26"), best="claude-3-5-sonnet-20241022", quality=".95951", free=".21566"
    )
    yield Check("no model right, %", "4.05", 100 * pool.unsolved)
    yield Check("every model right, %", "15.60", 100 * pool.solved_by_all)
    yield Check("oracle, AIQ", ".9593", aiq(*pool.oracle_curve, pool.frame))
    yield Check("lower limit, $ per 1k", ".0487", 1000 * pool.frame.low)
    yield Check("upper limit, $ per 1k", "17.027", 1000 * pool.frame.high)
    quality = dict(zip(outcomes.models, outcomes.quality.T, strict=True))
    mini, mistral = quality["gpt-4o-mini-2024-07-18"], quality["Mistral-Large-2"]
    sonnet, gpt = quality["claude-3-5-sonnet-20241022"], quality["gpt-4o-2024-08-06"]
    tests = [("gpt-4o-mini, Mistral-Large-2", mini, mistral, "207", "192", ".4834")]
    tests += [("sonnet-1022, gpt-4o-0806", sonnet, gpt, "171", "161", ".621")]
    for names, first, second, only_first, only_second, p in tests:
        found = mcnemar(first, second)
        yield Check(f"McNemar {names}: b", only_first, found.only_first)
        yield Check(f"McNemar {names}: c", only_second, found.only_second)
        yield Check(f"McNemar {names}: exact p", p, found.p)
    difference = paired_difference(sonnet, gpt)
    yield Check("sonnet-1022 − gpt-4o-0806", ".0035", difference.value)
    yield Check("its paired standard error", ".0064", difference.error)


def _zeroeval(
    name: str, pool: ScoredPool, *, size: tuple[str, str], best: str, quality: str, free: str
) -> Iterator[Check]:
    """The figures both sets have."""
    yield Check("prompts", size[0], len(pool.quality))
    yield Check("models", size[1], len(pool.models))
    yield Check("oracle, quality", quality, pool.oracle.point.quality)
    charged = oracle(pool.quality, pool.cost, rb_compat=True).point.cost
    yield Check("oracle, $ per 1k, none right → 0", free, 1000 * charged)
    yield Check(f"best single is {best}", "1", float(pool.models[pool.best_single] == best))
    for model, right, cost in SINGLES[name]:
        point = pool.points[pool.models.index(model)]
        yield Check(f"{model}, quality", right, point.quality)
        yield Check(f"{model}, $ per 1k", cost, 1000 * point.cost)
    outcomes = _outcomes(name)
    for part, (compat, fixed) in ZERO[name].items():
        taken = outcomes.take([row for row, kind in enumerate(outcomes.categories) if part in ("all", kind)])
        cost, mean = taken.cost.mean(axis=0), taken.quality.mean(axis=0)
        reach = float(ndch(cost, mean).cost[-1])
        yield Check(f"zero router on {part}, AIQ as RouterBench has it", compat, aiq_rb_compat(cost, mean, reach))
        yield Check(f"zero router on {part}, AIQ between fixed limits", fixed, aiq(cost, mean, Frame.of(cost, mean)))


def two_models() -> Iterator[Check]:
    """RouteLLM's two models, with the length of the prompt as the score."""
    mmlu = ("14037", "68.09147", "80.58702", "2496", "1983")
    gsm = ("1307", "63.73374", "85.76894", "382")
    yield from _pair("mmlu", mmlu, (".58370", "75.3851", "15.355", "36.702", "69.204"))
    yield from _pair("gsm8k", gsm, (".59866", "76.9252", "10.508", "36.513", "66.656"))


def _pair(dataset: str, models: Sequence[str], curve: Sequence[str]) -> Iterator[Check]:
    """Figures of one data set."""
    outcomes = _outcomes(PAIR)
    dirty = _contaminated()
    kinds = zip(outcomes.items, outcomes.categories, strict=True)
    taken = outcomes.take([row for row, (item, kind) in enumerate(kinds) if kind == dataset and item not in dirty])
    by_model = dict(zip(taken.models, taken.quality.T, strict=True))
    weak, strong = by_model["mistralai/Mixtral-8x7B-Instruct-v0.1"], by_model["gpt-4-1106-preview"]
    found = PairCurve.of_score(taken.lengths, weak, strong)
    yield Check(f"{dataset}, prompts", models[0], len(weak))
    yield Check(f"{dataset}, weak, %", models[1], 100 * found.weak)
    yield Check(f"{dataset}, strong, %", models[2], 100 * found.strong)
    yield Check(f"{dataset}, weak wrong and strong right", models[3], float((strong > weak).sum()))
    for expected in models[4:]:
        yield Check(f"{dataset}, both wrong", expected, float(((weak == 0) & (strong == 0)).sum()))
    yield Check(f"{dataset}, APGR", curve[0], _known(found.apgr))
    yield Check(f"{dataset}, AUC, %", curve[1], 100 * found.auc)
    for expected, part in zip(curve[2:], (0.2, 0.5, 0.8), strict=True):
        yield Check(f"{dataset}, CPT {part:.0%}, % of calls", expected, 100 * _known(found.cpt(part)))


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _file(name: str) -> Path:
    file = FOLDER / f"{name}.parquet"
    if not file.exists():
        raise Absent(name)
    return file


@cache
def _outcomes(name: str) -> Outcomes:
    return import_outcomes(_file(name), None, name).outcomes()


def _contaminated() -> set[str]:
    table = pq.read_table(_file(PAIR), columns=["sample_id", "contaminated"])
    return set(table.filter(pc.field("contaminated"))["sample_id"].to_pylist())


PARTS: dict[str, Part] = {
    "toy hulls": toy_hulls,
    "off-policy toy": toy_offpolicy,
    "RouterArena": arena,
    SMALL: small_set,
    BIG: big_set,
    PAIR: two_models,
}


def main() -> int:
    """Print every figure; 1 where one differs."""
    console, wrong, counted = Console(), 0, 0
    for name, part in PARTS.items():
        try:
            checks = list(part())
        except Absent:
            console.print(f"{name}: not present; point HULLSPEED_SHARED at the folder that holds data/\n")
            continue
        table = Table("figure", title=name, title_justify="left", box=None)
        for heading in ("expected", "measured", ""):
            table.add_column(heading, justify="right")
        for check in checks:
            figure = f"{check.measured:.{check.decimals + 2 if check.decimals else 0}f}"
            mark = "[green]✓[/green]" if check.holds else "[bold red]✗[/bold red]"
            table.add_row(check.name, check.expected, figure, mark)
        console.print(table, "")
        counted += len(checks)
        wrong += sum(not check.holds for check in checks)
    console.print(f"{counted} figures, {wrong} differ" if wrong else f"{counted} figures, all as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
