"""One round: every gateway is started, then each is put under the same load in turn, then all are stopped."""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.hop import nginx
from benchmarks.hop.gateways import CHAT, ROOT, Gateway, Kind, Launch, Place
from benchmarks.hop.ledger import Postgres
from benchmarks.hop.load import Target, first_tokens, wrk
from benchmarks.hop.processes import Gone, Running, fetch, free_port
from benchmarks.hop.traffic import request
from benchmarks.installed import NotInstalled

GATEWAY_CORE, LOAD_CORE = 0, 1
START_SECONDS = 60.0
PROVIDER_SECONDS = 10.0
SHIP_SECONDS = 60.0
MANY = 64
"""Connections at once."""
TOKENS = 200
"""Streams whose first token is waited for."""
DIRECT = "direct"
"""Name of the upstream asked without a gateway."""
_JOURNAL = re.compile(r"^hullspeed_journal_rows ([\d.e+]+)", re.MULTILINE)
_COUNTED = re.compile(r"\n\s*\d+ \d+ (\d+)")

Figures = defaultdict[tuple[str, str], list[float]]
"""By gateway and figure, a value from each round."""


class Bench:
    """What stays the same over all rounds, and what was found."""

    def __init__(self, folder: Path, postgres: Postgres, seconds: float, pace: float) -> None:
        """`seconds`: how long each load lasts; `pace`: milliseconds between the chunks of a stream."""
        self.folder, self.postgres, self.seconds, self.pace = folder, postgres, seconds, pace
        self.figures: Figures = defaultdict(list)
        self.broken: set[tuple[str, Kind]] = set()
        """What does not even start."""
        self.refused: dict[str, str] = {}
        """Why a gateway is not run at all."""
        self.trouble: dict[tuple[str, str], str] = {}
        """Why a gateway was not run, or did not answer well, by what it was asked."""

    def round(self, number: int, gateways: Sequence[Gateway], kinds: Sequence[Kind]) -> None:
        """Measure every gateway once."""
        for kind in kinds:
            chosen = [
                gateway
                for gateway in gateways
                if kind in gateway.kinds
                and gateway.name not in self.refused
                and (gateway.name, kind) not in self.broken
            ]
            with ExitStack() as stack:
                folder = self.folder / f"{number}-{kind}"
                upstream = stack.enter_context(self._upstream(folder, kind))
                stands = []
                for gateway in chosen:
                    try:
                        stands.append(stack.enter_context(self._stand(gateway, kind, folder, upstream)))
                    except Gone as error:
                        self.broken.add((gateway.name, kind))
                        self.trouble[gateway.name, kind] = str(error)
                for phase in PHASES[kind]:
                    try:
                        phase(self, upstream, stands)
                    except OSError as error:
                        self.trouble[DIRECT, kind] = f"round {number} was cut off: {error}"
            print(f"round {number}, {kind}: done", file=sys.stderr)

    @contextmanager
    def _upstream(self, folder: Path, kind: Kind) -> Iterator[Upstream]:
        port = free_port()
        if kind == "whole":
            command = nginx.provider(folder / "provider", port)
        else:
            command = [sys.executable, "-m", "benchmarks.hop.upstream", str(port), str(self.pace)]
        running = Running(command, LOAD_CORE, folder / "provider", {}, cwd=ROOT)
        try:
            body = request("gpt-4o-mini", stream=kind == "stream")
            target = Target(port, CHAT, body, {"content-type": "application/json"})
            running.wait_for(target.answers, PROVIDER_SECONDS)
            yield Upstream(target)
        finally:
            running.stop()

    @contextmanager
    def _stand(self, gateway: Gateway, kind: Kind, folder: Path, upstream: Upstream) -> Iterator[Stand]:
        port = free_port()
        place = Place(kind, port, upstream.target.port, folder / gateway.name.replace(" ", "-"))
        launch = gateway.launch(place)
        target = _target(launch, port, kind)
        running = Running(launch.command, GATEWAY_CORE, place.folder, launch.environ, launch.cwd)
        try:
            if launch.announced is not None:
                file = launch.announced
                running.wait_for(lambda: file.exists() and file.read_text().endswith("\n"), START_SECONDS)
                target = _target(launch, int(file.read_text()), kind)
            took = running.wait_for(target.answers, START_SECONDS)
            if kind == "whole":
                self.figures[gateway.name, "cold start"].append(took)
            stand = Stand(gateway, target, running)
            # Interpreters that compile as they run are to be done with it.
            wrk(target, connections=MANY, seconds=2, core=LOAD_CORE, folder=place.folder)
            running.settle()
            yield stand
        finally:
            running.stop()

    def _load(self, stand: Stand, upstream: Upstream, kind: str, connections: int) -> None:
        """Put a gateway under load, and count what it and its ledger used for it."""
        self._shipped(stand)
        before, asked, ledger = stand.running.cpu(), upstream.answered(), self.postgres.cpu()
        folder = stand.running.log.parent
        ran = wrk(stand.target, connections=connections, seconds=self.seconds, core=LOAD_CORE, folder=folder)
        self._shipped(stand)
        used, answered = stand.running.cpu() - before, upstream.answered() - asked
        name = stand.gateway.name
        if ran.trouble or not answered:
            self.trouble[name, f"{kind} {connections}"] = ran.trouble or "nothing reached the upstream"
        found = {"CPU": used / max(answered, 1) * 1e3, "rate": ran.rate, "p50": ran.p50, "p99": ran.p99}
        if stand.gateway.journal:
            found["Postgres"] = (self.postgres.cpu() - ledger) / max(answered, 1) * 1e3
        for figure, value in found.items():
            self.figures[name, f"{kind} {connections} {figure}"].append(value)

    def _shipped(self, stand: Stand) -> None:
        """Wait until a gateway has done what it does after its replies."""
        deadline = time.perf_counter() + SHIP_SECONDS
        while stand.gateway.journal and time.perf_counter() < deadline:
            found = _JOURNAL.search(fetch(stand.target.port, "/metrics"))
            if found is None or float(found[1]) == 0:
                break
            time.sleep(0.2)
        stand.running.settle()

    def whole(self, upstream: Upstream, stands: Sequence[Stand]) -> None:
        """64 connections, and memory after it."""
        for stand in stands:
            self._load(stand, upstream, "whole", MANY)
            self.figures[stand.gateway.name, "RSS"].append(stand.running.resident() / 1e6)

    def alone(self, upstream: Upstream, stands: Sequence[Stand]) -> None:
        """One connection, and the same without a gateway."""
        direct = wrk(upstream.target, connections=1, seconds=self.seconds / 2, core=LOAD_CORE, folder=self.folder)
        self.figures[DIRECT, "whole 1 p50"].append(direct.p50)
        self.figures[DIRECT, "whole 1 p99"].append(direct.p99)
        for stand in stands:
            self._load(stand, upstream, "whole", 1)
            name = stand.gateway.name
            self.figures[name, "whole 1 added p50"].append(self.figures[name, "whole 1 p50"][-1] - direct.p50)

    def streams(self, upstream: Upstream, stands: Sequence[Stand]) -> None:
        """64 streams at once."""
        for stand in stands:
            self._load(stand, upstream, "stream", MANY)

    def first_token(self, upstream: Upstream, stands: Sequence[Stand]) -> None:
        """One stream after another, and the same without a gateway."""
        direct = statistics.median(first_tokens(upstream.target, TOKENS))
        self.figures[DIRECT, "first token"].append(direct)
        for stand in stands:
            name = stand.gateway.name
            try:
                took = statistics.median(first_tokens(stand.target, TOKENS))
            except OSError as error:
                self.trouble[name, "first token"] = str(error)
                continue
            self.figures[name, "first token added"].append(took - direct)

    def translated(self, upstream: Upstream, stands: Sequence[Stand]) -> None:
        """64 connections to a provider that speaks another dialect."""
        for stand in stands:
            self._load(stand, upstream, "anthropic", MANY)


class Upstream:
    """The provider behind the gateways."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def answered(self) -> int:
        """Requests it answered so far: what a gateway worked for, those that the load no longer waited for too."""
        said = fetch(self.target.port, "/requests")
        found = _COUNTED.search(said)
        return int(found[1]) if found else int(said)


class Stand:
    """A gateway that serves."""

    def __init__(self, gateway: Gateway, target: Target, running: Running) -> None:
        self.gateway, self.target, self.running = gateway, target, running


PHASES: dict[Kind, tuple[Callable[[Bench, Upstream, Sequence[Stand]], None], ...]] = {
    "whole": (Bench.whole, Bench.alone),
    "stream": (Bench.streams, Bench.first_token),
    "anthropic": (Bench.translated,),
}


def _target(launch: Launch, port: int, kind: Kind) -> Target:
    body = request(launch.model, stream=kind == "stream")
    return Target(port, launch.path, body, {"content-type": "application/json", **launch.headers})


def prepare(gateways: Sequence[Gateway]) -> dict[str, str]:
    """Install all of them; gives why some cannot be had."""
    refused = {}
    for gateway in gateways:
        try:
            gateway.prepare()
        except NotInstalled as error:
            refused[gateway.name] = str(error)
    return refused
