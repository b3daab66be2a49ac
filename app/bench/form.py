"""A run as a form asks for it: checked field by field as the command would, and made into that command."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from app.bench.graders import GraderContext, asks, functions, grader_for
from app.bench.plan import RECORDED, Plan, RouterSpec
from app.bench.splits import SplitBy
from app.bench.suite import Suite
from app.bench.tradeoffs import DEFAULT_TRADEOFFS, parse_tradeoffs
from app.core.errors import ConfigError

MOST_IN_FLIGHT = 1000
_NOBODY = RouterSpec("nobody", None, {})
_EMPTY = Suite("", ())


class Grounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a form is checked against."""

    models: Sequence[str] | None
    """The suite's recorded models; None where it has none, or where there is no such suite."""
    categories: Collection[str]
    graders: Collection[str]
    """Those that the suite or its items name."""
    known: bool
    """Whether there is such a suite."""
    served: Collection[str]
    """Routers of the proxy that serves."""
    allow_code: bool


class RunForm(msgspec.Struct, frozen=True, kw_only=True):
    """Every field as it was typed."""

    suite: str = ""
    upstream: Literal["recorded", "live"] = "recorded"
    """`live`: the models of the proxy that serves."""
    routers: tuple[str, ...] = ()
    """Ticked ones."""
    more: str = ""
    """Others, one a line: `knn:k=50`, or the folder of an artifact."""
    tradeoffs: str = DEFAULT_TRADEOFFS
    split: Literal["test", "train", "all"] = "test"
    split_by: str = "stratified"
    seed: str = "0"
    limit: str = ""
    concurrency: str = "32"
    grader: str = ""
    """Empty: the suite's own."""
    max_cost: str = ""
    """USD."""
    confirm: bool = False
    """Somebody has said yes to spending it."""
    fresh: bool = False

    @property
    def named(self) -> list[str]:
        """All routers."""
        return [*self.routers, *(line.strip() for line in self.more.splitlines() if line.strip())]

    def spends(self, grounds: Grounds) -> bool:
        """Whether it may cost money: models answer, or judge."""
        judges = [self.grader] if self.grader and self.grader != RECORDED else list(grounds.graders)
        return self.upstream == "live" or any(asks(name) for name in judges)

    def problems(self, grounds: Grounds) -> dict[str, str]:
        """What is wrong, by field; what takes the suite itself to tell is for the command to say. Imports the routers
        that are named: not for an event loop."""
        found: dict[str, str] = {}

        def check(field: str, what: Callable[[], object]) -> None:
            try:
                what()
            except ConfigError as error:
                found.setdefault(field, error.message)

        if not grounds.known:
            found["suite"] = f"There is no suite named {self.suite!r}." if self.suite else "Choose a suite."
        elif self.upstream == "recorded" and grounds.models is None:
            found["upstream"] = "This suite has no recorded outcomes: let the models of this proxy answer."
        check("routers", lambda: self._check_routers(grounds))
        check("tradeoffs", lambda: Plan(_EMPTY, (_NOBODY,), parse_tradeoffs(self.tradeoffs), remote=True))
        check("split_by", lambda: self._check_split(grounds))
        check("seed", lambda: _whole(self.seed, 0))
        check("limit", lambda: self.limit and _whole(self.limit, 1))
        check("concurrency", lambda: _whole(self.concurrency, 1, MOST_IN_FLIGHT))
        check("grader", lambda: self._check_grader(grounds))
        check("max_cost", lambda: self._check_cap(grounds))
        return found

    def arguments(self, url: str | None) -> tuple[str, ...]:
        """The command, `bench run …`, without the name of the program; `url`: of the proxy that serves. A form without
        `problems`."""
        given: list[tuple[str, str]] = [("--router", name) for name in self.named]
        given.append(("--tradeoffs", ",".join(part.strip() for part in self.tradeoffs.split(","))))
        defaults = RunForm()
        for name in ("split", "split_by", "seed", "limit", "concurrency", "grader", "max_cost"):
            value = getattr(self, name).strip()
            if value and (name == "split" or value != getattr(defaults, name)):
                given.append((f"--{name.replace('_', '-')}", value))
        if self.upstream == "live" and url is not None:
            given.append(("--url", url))
        options = [part for option, value in given for part in _option(option, value)]
        if self.fresh:
            options.append("--fresh")
        # A name that looks like an option is none behind `--`.
        return ("bench", "run", *((self.suite, *options) if self.suite[:1] != "-" else (*options, "--", self.suite)))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> RunForm:
        """From fields of a form or of a query, of which any may be missing; raises `msgspec.ValidationError` for what
        no form of ours sends."""
        known = {name: given[name] for name in cls.__struct_fields__ if name in given}
        return msgspec.convert(known, cls, strict=False)

    @classmethod
    def of_spec(cls, suite: str, spec: Mapping[str, Any], grader: str | None, installed: Collection[str]) -> RunForm:
        """What would ask for a run with this spec again; `grader`: the suite's own."""
        quality = str(spec.get("quality", RECORDED))
        judged = quality.removeprefix("grader:")
        routers = [str(name) for name in spec.get("routers", ())]
        ticked = tuple(name for name in routers if name in installed)
        return cls(
            suite=suite,
            upstream="live" if spec.get("upstream") == "live" else "recorded",
            routers=ticked,
            more="\n".join(name for name in routers if name not in ticked),
            tradeoffs=",".join(f"{tradeoff:g}" for tradeoff in spec.get("tradeoffs", ())) or DEFAULT_TRADEOFFS,
            split=spec.get("split", "test"),
            split_by=str(spec.get("split_by", "stratified")),
            seed=str(spec.get("seed", 0)),
            limit="" if spec.get("limit") is None else str(spec["limit"]),
            grader=("recorded" if grader else "")
            if quality == RECORDED
            else ("" if judged in (grader, "per item") else judged),
        )

    def _check_routers(self, grounds: Grounds) -> None:
        specs = []
        if not self.named:
            raise ConfigError("Tick at least one router.")
        for name in self.named:
            if self.upstream == "live":
                if name not in grounds.served:
                    there = ", ".join(grounds.served)
                    raise ConfigError(f"This proxy has no router `{name}`; it has {there}.")
                specs.append(RouterSpec(name, None, {}))
                continue
            spec = RouterSpec.parse(name)
            if spec.file is not None and not grounds.allow_code:
                raise ConfigError(
                    f"`{name}` is a file of code, which a page runs only where the proxy was started with "
                    "HULLSPEED_ALLOW_CODE=1; on the command line you may name it."
                )
            specs.append(spec)
        Plan(_EMPTY, tuple(specs), remote=self.upstream == "live")

    def _check_split(self, grounds: Grounds) -> None:
        by = SplitBy.parse(self.split_by)
        if by.category is not None and grounds.categories and by.category not in grounds.categories:
            raise ConfigError(f"The suite has no category `{by.category}`; it has {', '.join(grounds.categories)}.")

    def _check_grader(self, grounds: Grounds) -> None:
        name = self.grader.strip()
        if name and name != RECORDED:
            Plan(_EMPTY, (_NOBODY,), grader=name, remote=True)
            if functions.is_file(name) and not grounds.allow_code:
                raise ConfigError(
                    f"`{name}` is a file of code, which a page runs only where the proxy was started with "
                    "HULLSPEED_ALLOW_CODE=1."
                )
            grader_for(name, GraderContext(allow_code=grounds.allow_code))
        elif not name and self.upstream == "live" and grounds.known and not grounds.graders:
            raise ConfigError("Live replies have no recorded quality, and this suite names no grader: choose one.")
        elif name == RECORDED and self.upstream == "live":
            raise ConfigError("Live replies have no recorded quality: choose a grader that reads them.")

    def _check_cap(self, grounds: Grounds) -> None:
        text = self.max_cost.strip()
        if not text:
            if self.spends(grounds):
                raise ConfigError("Say at how many USD it is to stop: this run spends money.")
            return
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            raise ConfigError(f"{text!r} is no amount of USD above 0, e.g. 2.50")


def _option(name: str, value: str) -> tuple[str, ...]:
    short = "-r" if name == "--router" else name
    return (short, value) if value[:1] != "-" else (f"{name}={value}",)


def _whole(text: str, least: int, most: int | None = None) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or int(text) < least or (most is not None and int(text) > most):
        raise ConfigError(f"{text!r} is no whole number from {least}" + (f" to {most}" if most else ""))
    return int(text)
