"""Many requests, one proxy: `python -m benchmarks.soak [--requests 1000000]`.

Sends them at 64 connections to Hullspeed with everything on, and prints memory and open files every 50,000: both must
stay where they are after the first of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.hop import nginx, show
from benchmarks.hop.gateways import ROOT, Place, hullspeed
from benchmarks.hop.ledger import Postgres
from benchmarks.hop.load import Target, wrk
from benchmarks.hop.measure import GATEWAY_CORE, LOAD_CORE, MANY, START_SECONDS, Upstream
from benchmarks.hop.processes import Running, alone, free_port, missing
from benchmarks.hop.traffic import request

EVERY = 50_000
SLICE_SECONDS = 2.0


def soak(folder: Path, postgres: Postgres, requests: int) -> None:
    """Send, and print a line every 50,000."""
    gateway = hullspeed(show.OURS, ROOT, postgres)
    gateway.prepare()
    upstream, port = Upstream(Target(free_port(), "/", b"", {})), free_port()
    place = Place("whole", port, upstream.target.port, folder / "proxy")
    launch = gateway.launch(place)
    target = Target(port, launch.path, request(launch.model), {"content-type": "application/json"})
    provider = Running(nginx.provider(folder / "provider", upstream.target.port), LOAD_CORE, folder / "provider", {})
    proxy = Running(launch.command, GATEWAY_CORE, place.folder, launch.environ, launch.cwd)
    try:
        proxy.wait_for(target.answers, START_SECONDS)
        started, first, printed = time.perf_counter(), upstream.answered(), 0
        print(f"{'requests':>10}  {'RSS, MB':>8}  {'open files':>10}  {'requests/s':>10}")
        while printed < requests:
            ran = wrk(target, connections=MANY, seconds=SLICE_SECONDS, core=LOAD_CORE, folder=folder)
            done = upstream.answered() - first
            if ran.trouble:
                sys.exit(f"after {done:,} requests: {ran.trouble}")
            if done >= printed + EVERY or done >= requests:
                printed = done
                rate = done / (time.perf_counter() - started)
                print(f"{done:10,}  {proxy.resident() / 1e6:8.1f}  {proxy.open_files():10}  {rate:10,.0f}", flush=True)
    finally:
        proxy.stop()
        provider.stop()


def main() -> None:
    """Send and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    given = parser.parse_args()
    if lacking := missing():
        raise SystemExit(f"install first: apt-get install {' '.join(lacking)}")
    os.sched_setaffinity(0, {LOAD_CORE})
    with alone(), tempfile.TemporaryDirectory(prefix="soak-") as name:
        postgres = Postgres(Path(name))
        postgres.start()
        try:
            soak(Path(name), postgres, given.requests)
        finally:
            postgres.stop()


if __name__ == "__main__":
    main()
