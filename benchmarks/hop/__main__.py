"""What the hop costs, side by side: `python -m benchmarks.hop [--rounds 3] [--only …] [--json FILE]`.

Every gateway has the same provider behind it, runs on one core, and is put under the same load from the other core, in
turn, in each of the rounds. Hullspeed has everything on: the default router, prices, metrics and the ledger in
Postgres, which runs on the load's core and is counted apart. CPU is that of the gateway's processes, read when it has
come to rest and the ledger is shipped. Printed are medians over the rounds with the least and the most.

`--hullspeed-only` compares with nginx alone, in half a minute. `--tree NAME=PATH` measures another checkout beside
this one. `python -m benchmarks.soak` sends a million requests.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.hop import show
from benchmarks.hop.gateways import BOTH, ROOT, gateways
from benchmarks.hop.ledger import Postgres
from benchmarks.hop.measure import LOAD_CORE, Bench, prepare
from benchmarks.hop.processes import alone, missing


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="how often all is measured; 3, of --hullspeed-only 1")
    parser.add_argument("--seconds", type=float, help="how long each load lasts; 4, of --hullspeed-only 2")
    parser.add_argument("--pace", type=float, default=0.0, help="milliseconds between the chunks of a stream")
    parser.add_argument("--only", nargs="*", default=[], help="gateways, by the beginnings of their names")
    parser.add_argument("--kinds", nargs="*", default=BOTH, choices=BOTH, help="what is measured")
    parser.add_argument("--hullspeed-only", action="store_true", help="nginx and Hullspeed, one short round")
    parser.add_argument("--tree", action="append", default=[], metavar="NAME=PATH", help="another checkout, beside")
    parser.add_argument("--json", type=Path, help="also write every figure of every round there")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.hullspeed_only else 3)
    given.seconds = given.seconds or (2.0 if given.hullspeed_only else 4.0)
    if lacking := missing():
        raise SystemExit(f"install first: apt-get install {' '.join(lacking)}")
    if len(os.sched_getaffinity(0)) <= LOAD_CORE:
        raise SystemExit("two cores are needed: one for the gateway, one for the load and the provider")
    trees = {show.OURS: ROOT}
    for text in given.tree:
        name, _, path = text.rpartition("=")
        trees[name or Path(path).name] = Path(path).resolve()
    # Whichever way it is ended, what it started ends with it.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    # The load's core is also the one of everything that is started without being told otherwise, Postgres for one.
    os.sched_setaffinity(0, {LOAD_CORE})
    with alone(), tempfile.TemporaryDirectory(prefix="hop-") as name:
        postgres = Postgres(Path(name))
        chosen = [
            gateway
            for gateway in gateways(postgres, trees, hullspeed_only=given.hullspeed_only)
            if not given.only or gateway.name.lower().startswith(tuple(text.lower() for text in given.only))
        ]
        bench = Bench(Path(name), postgres, given.seconds, given.pace)
        bench.refused |= prepare(chosen)
        postgres.start()
        try:
            for number in range(1, given.rounds + 1):
                bench.round(number, chosen, given.kinds)
        except KeyboardInterrupt:
            print("interrupted: what follows is what was measured so far", file=sys.stderr)
        finally:
            postgres.stop()
    names = [gateway.name for gateway in chosen]
    console = Console(width=None if sys.stdout.isatty() else 60 + 36 * len(names))
    console.print(f"Python {sys.version} ({Path(sys.executable).resolve()})", markup=False)
    console.print(show.table(bench.figures, names))
    console.print(show.direct(bench.figures))
    console.print(show.claims(bench.figures))
    for gateway, why in bench.refused.items():
        console.print(f"Not run: {gateway}: {why}", markup=False)
    for (gateway, what), why in bench.trouble.items():
        console.print(f"{gateway}, {what}: {' '.join(why.split())[:400]}", markup=False)
    if given.json is not None:
        whole = [{"gateway": name, "figure": figure, "rounds": each} for (name, figure), each in bench.figures.items()]
        trouble = [{"gateway": name, "what": what, "why": why} for (name, what), why in bench.trouble.items()]
        given.json.write_text(
            json.dumps({"figures": whole, "refused": bench.refused, "trouble": trouble}, indent=2, ensure_ascii=False)
        )


if __name__ == "__main__":
    main()
