"""How long scoring takes and how much memory, at RouterBench's size: `python -m benchmarks.scoring_speed`.

36,500 prompts, 11 models, all baselines, 10 routers at 20 tradeoffs each. The outcomes are drawn, the routers pick by
noisy knowledge of them: what is measured is the scoring of picks, not the routers. Each report is built in a process of
its own, since peak memory never falls again. Goals: 10 s without the bootstrap (one draw), 60 s and 2 GB with 2,000.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np

from app.bench.report import build_report
from app.bench.results import RouterResult
from app.bench.scoring import look_up
from app.bench.suite import Item, Recorded, Suite
from routers import Outcomes

PROMPTS, MODELS, ROUTERS, TRADEOFFS = 36_500, 11, 10, 20
KINDS = 86
"""Data sets in RouterBench."""
GRADES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
GOALS = {1: 10.0, 2000: 60.0}
"""Draws → seconds."""
GOAL_GB = 2.0


def drawn_suite() -> Suite:
    """Graded outcomes in which dearer models are better, and some kinds of prompts harder."""
    rng = np.random.default_rng(0)
    skill, price = np.linspace(0.35, 0.85, MODELS), np.geomspace(2e-5, 8e-3, MODELS)
    kind = rng.integers(KINDS, size=PROMPTS)
    level = skill + rng.normal(0, 0.15, KINDS)[kind][:, None] + rng.normal(0, 0.3, (PROMPTS, MODELS))
    quality = GRADES[np.clip(np.round(level * 4), 0, 4).astype(np.int64)]
    cost = price * rng.lognormal(0, 0.5, (PROMPTS, MODELS))
    lengths = rng.integers(40, 4000, PROMPTS)
    items = tuple(
        Item(id=f"{row:05}", category=f"kind-{kind[row]}", messages=[{"role": "user", "content": _text(rng, length)}])
        for row, length in enumerate(lengths.tolist())
    )
    tokens = np.zeros((PROMPTS, MODELS), dtype=np.int64)
    replies = np.full((PROMPTS, MODELS), None, dtype=object)
    models = tuple(f"model-{place}" for place in range(MODELS))
    return Suite("drawn", items, recorded=Recorded(models, quality, cost, tokens, tokens, replies))


def _text(rng: np.random.Generator, length: int) -> str:
    """As many letters, different for every prompt."""
    return rng.integers(97, 123, length, dtype=np.uint8).tobytes().decode()


def picking_router(place: int, outcomes: Outcomes, rows: np.ndarray) -> RouterResult:
    """A router that sees the outcomes through noise, the less of it the higher its `place`."""
    rng = np.random.default_rng(place)
    seen = outcomes.quality + rng.normal(0, 1.5 - 0.1 * place, outcomes.quality.shape)
    dearest = float(outcomes.cost.mean(axis=0).max())
    settings = []
    for tradeoff in np.linspace(0, 0.95, TRADEOFFS):
        picked = (seen - tradeoff / (1 - tradeoff) * outcomes.cost / dearest)[rows].argmax(axis=1)
        settings.append(look_up(outcomes, rows, picked, float(tradeoff)))
    return RouterResult(f"router-{place}", tuple(settings))


def measure(draws: int) -> tuple[float, float, float]:
    """Seconds of one report, seconds of CPU in them (all threads), and peak memory of the process in GB."""
    suite = drawn_suite()
    outcomes, rows = suite.outcomes(), np.arange(PROMPTS)
    results = [picking_router(place, outcomes, rows) for place in range(ROUTERS)]
    tradeoffs = [float(tradeoff) for tradeoff in np.linspace(0, 0.95, TRADEOFFS)]
    begun, begun_cpu = time.perf_counter(), time.process_time()
    build_report(
        suite=suite,
        rows=rows,
        split="all",
        seed=0,
        results=results,
        outcomes=outcomes,
        quality_source="recorded",
        tradeoffs=tradeoffs,
        kind="score",
        draws=draws,
    )
    seconds, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> int:
    """Print both measurements; 1 where a goal is missed."""
    if len(sys.argv) > 1:
        print(*measure(int(sys.argv[1])))
        return 0
    print(f"{PROMPTS:,} prompts × {MODELS} models, all baselines, {ROUTERS} routers × {TRADEOFFS} tradeoffs")
    missed = 0
    for draws, goal in GOALS.items():
        command = [sys.executable, "-m", "benchmarks.scoring_speed", str(draws)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds, cpu, memory = map(float, done.stdout.split())
        held = seconds < goal and memory < GOAL_GB
        missed += not held
        print(
            f"{draws:>5,} draw{'s' if draws > 1 else ' '}  {seconds:6.1f} s (goal {goal:.0f} s; {cpu:.1f} s of CPU)  "
            f"peak {memory:.2f} GB (goal {GOAL_GB:.0f} GB)  {'✓' if held else '✗'}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
