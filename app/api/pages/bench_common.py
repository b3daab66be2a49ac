"""What the pages of the bench have in common: runs and their states, and pages of lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from app.api.pages.shown import Shown
from app.bench import wording
from app.bench.aside import Aside
from app.bench.drawn import Drawn
from app.bench.figures import Estimate
from app.bench.starts import Starts
from app.store.queries.run_list import RouterLine, RunLine
from app.store.queries.suites import RecordedModel, SuiteFacts, recorded_models, suite_facts
from app.store.runs import RunRow, claimed

PAGE = 25
"""Lines of a list."""
REMEMBERED = 50
"""Suites whose means are kept in memory."""
TONES = {"done": "good", "running": "accent", "interrupted": "warn", "stopped": "bad"}
RECORDED = ("recorded", "simulated")
"""Upstreams that cost nothing and say what the suite's outcomes hold."""
KINDS = {"record": "recording", "adopt": "adopted"}


@dataclass(frozen=True)
class RunView:
    """A run as a list shows it."""

    run: RunRow
    state: str
    """`done`, `running`, `interrupted` (whoever ran it is gone) or `stopped`."""
    tone: str
    kind: str
    """`recording`, `adopted`, or empty for a replay of ours."""
    routers: tuple[str, ...]
    items: int | None
    headline: str | None
    best: str | None
    """The router of the highest AIQ."""
    delta: str | None
    """Its ΔAIQ with the interval."""
    verdict: str | None
    delta_tone: str
    cost: float | None
    """USD of all answers; None until it is done."""
    free: bool
    """Nothing was spent: recorded or simulated models answered."""


@dataclass(frozen=True)
class Pager:
    """Which page of a list it is."""

    page: int
    last: int
    first_line: int
    last_line: int
    total: int


def pager(page: int, total: int, size: int = PAGE) -> Pager:
    last = max(1, -(-total // size))
    return Pager(page, last, min(size * (page - 1) + 1, total), min(size * page, total), total)


def state_of(run: RunRow, held: bool) -> str:
    """A run that nobody holds does not go on, whatever its row says: its process was killed."""
    if run.status == "running":
        return "running" if held else "interrupted"
    return "done" if run.status == "done" else "stopped"


class Bench:
    """What the pages of the bench look at."""

    def __init__(self, shown: Shown) -> None:
        key = shown.settings.api_key or shown.config.general_settings.master_key
        self.shown = shown
        self.aside = Aside(shown.settings, None if key is None else key.get_secret_value())
        self.starts = Starts(shown.settings.data_dir)
        self.drawn = Drawn(self.aside)
        self._models: dict[str, list[RecordedModel]] = {}

    async def models(self, suite: SuiteFacts) -> list[RecordedModel]:
        """What each recorded model did. A stored suite never changes, and large ones take a second to add up."""
        found = self._models.get(suite.id)
        if found is None:
            if len(self._models) >= REMEMBERED:
                self._models.clear()
            found = self._models[suite.id] = await recorded_models(self.shown.database, suite.id)
        return found

    async def with_claims(self, lines: Sequence[RunLine]) -> list[tuple[RunLine, bool]]:
        """Each run with whether a process holds it."""
        running = [line.run.id for line in lines if line.run.status == "running"]
        held = await claimed(self.shown.database, running) if running else set()
        return [(line, line.run.id in held) for line in lines]

    def line(self, found: tuple[RunLine, bool]) -> RunView:
        line, held = found
        run, state = line.run, state_of(line.run, held)
        best = max((router for router in line.routers if router.aiq is not None), key=_aiq, default=None)
        estimate = None if best is None else _estimate(best)
        cost = sum(router.cost_per_1k for router in line.routers) * (line.n or 0) / 1000
        verdict, tone = (None, "muted") if estimate is None else _verdict(estimate, best)
        return RunView(
            run=run,
            state=state,
            tone=TONES[state],
            kind=KINDS.get(str(run.spec.get("kind", "")), ""),
            routers=tuple(str(name) for name in run.spec.get("routers", ())),
            items=line.n if line.n is not None else run.spec.get("items"),
            headline=line.headline,
            best=None if best is None else best.router,
            delta=None if estimate is None else spread(estimate),
            verdict=verdict,
            delta_tone=tone,
            cost=cost if line.routers else None,
            free=run.spec.get("upstream") in RECORDED,
        )

    async def suite_of(self, run: RunRow) -> SuiteFacts | None:
        """The suite that has the run's items, whatever it is called now."""
        found = await suite_facts(self.shown.database, name=run.suite, digest=run.suite_digest)
        if found is not None and found.digest != run.suite_digest:
            found = await suite_facts(self.shown.database, digest=run.suite_digest)
        return found


def spread(estimate: Estimate) -> str:
    """A difference with its interval, written out."""
    return f"{wording.signed(estimate.value)} [{wording.signed(estimate.low)}, {wording.signed(estimate.high)}]"


def own_url(request: Request) -> str:
    """Where this proxy listens. Not the Host header: whoever made the request may have written anything there, and the
    key goes to this address."""
    host, port = request.scope["server"]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _aiq(router: RouterLine) -> float:
    return router.aiq or 0.0


def _estimate(router: RouterLine) -> Estimate | None:
    if router.value is None or router.low is None or router.high is None:
        return None
    return Estimate(value=router.value, low=router.low, high=router.high)


def _verdict(estimate: Estimate, router: RouterLine | None) -> tuple[str, str]:
    if wording.undecided(estimate) or (router is not None and wording.taken_back(estimate, router.p_holm)):
        return wording.UNDECIDED, "muted"
    return wording.verdict(estimate), "good" if estimate.value > 0 else "bad"
