"""Which calls belong to which item: the ledger's tagged calls, held against a suite or against a harness's log.

A call belongs to the item its header names, or else to the item whose chat it asked. A log's question belongs to the
call whose id the client saw, or else to the newest call that asked the same of the same model. A call that failed goes
with the next one that was answered: clients try again by themselves, and what that cost is part of the answer's cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.bench.adopt_logs import Asked, Sample
from app.bench.record import LABEL
from app.bench.suite import Item, Suite
from app.core.errors import ConfigError
from app.gateway.prompt_hash import prompt_hash
from app.store.queries.decided import TaggedCall

Tries = tuple[TaggedCall, ...]
"""The calls one question took, oldest first: failed ones, and at the end the one that was answered, if any was."""
DIRECT = "none"
"""Router of a call whose client named a model."""


@dataclass(frozen=True)
class Trial:
    """One time an item was asked, with all calls that took."""

    item: Item
    calls: Tries
    sample: Sample | None = None
    """What the harness says of it, where there is a log."""

    @property
    def setting(self) -> tuple[str, float]:
        """Router and tradeoff as a report names them; `model:NAME` where the client named a model."""
        return setting(self.calls[0])

    @property
    def last(self) -> TaggedCall:
        """The call that answered, or else the last that failed."""
        return self.calls[-1]

    @property
    def error(self) -> str | None:
        """Why there is no answer."""
        if self.sample is not None and self.sample.error is not None:
            return self.sample.error
        return None if self.last.outcome == "ok" else self.last.error_message or self.last.outcome


@dataclass(frozen=True)
class Matched:
    """What was found, and in words what was not."""

    trials: tuple[Trial, ...]
    notes: tuple[str, ...]


def setting(call: TaggedCall) -> tuple[str, float]:
    """Router and tradeoff of one call."""
    return (LABEL + call.requested_model, 0.0) if call.router == DIRECT else (call.router, call.tradeoff)


def by_suite(calls: Sequence[TaggedCall], suite: Suite) -> Matched:
    """The calls that asked items of the suite."""
    places = _Places(suite.items)
    found: defaultdict[tuple[str, float, str], list[TaggedCall]] = defaultdict(list)
    strangers = 0
    for call in calls:
        key = places.key(call)
        if key is None:
            strangers += 1
        else:
            found[(*setting(call), key)].append(call)
    trials = [
        Trial(item, tries)
        for (_, _, key), own in found.items()
        for item, tries in zip(places.cycle(key), _tries(own), strict=False)
    ]
    said = f"{strangers:,} of {len(calls):,} calls asked no item of suite `{suite.name}` as it stands there: left out."
    return Matched(tuple(trials), (said,) if strangers else ())


def by_log(calls: Sequence[TaggedCall], samples: Sequence[Sample], suite: Suite) -> Matched:
    """The calls that the samples of a log made, for the items of the suite."""
    places = _Places(suite.items)
    ledger = _Ledger(calls, samples)
    trials: list[Trial] = []
    alien = absent = partly = 0
    for sample in samples:
        claimed = [ledger.claim(asked, sample.model) for asked in sample.asked]
        mine = tuple(call for tries in claimed if tries is not None for call in tries)
        if not mine or None in claimed:
            absent += not mine
            partly += bool(mine)
            continue
        item = places.of(sample, mine[0])
        if item is None:
            alien += 1
        else:
            trials.append(Trial(item, mine, sample))
    notes = [
        (absent, f"{absent:,} of {len(samples):,} samples of the log have no call in this run: left out."),
        (partly, f"{partly:,} of {len(samples):,} samples lack some of their calls in this run: left out."),
        (alien, f"{alien:,} of {len(samples):,} samples asked no item of suite `{suite.name}`: left out."),
        (ledger.left, f"{ledger.left:,} of {len(calls):,} calls belong to no sample of the log: left out."),
    ]
    return Matched(tuple(trials), tuple(said for count, said in notes if count))


def _tries(calls: Iterable[TaggedCall]) -> Iterator[Tries]:
    """Calls of one question, oldest first, each answer with the failures before it."""
    failed: list[TaggedCall] = []
    for call in calls:
        failed.append(call)
        if call.outcome == "ok":
            yield tuple(failed)
            failed = []
    if failed:
        yield tuple(failed)


class _Places:
    """The items of a suite by id and by what they ask."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._by_id = {item.id: item for item in items}
        self._by_hash: defaultdict[str, list[Item]] = defaultdict(list)
        for item in items:
            self._by_hash[prompt_hash(item.messages)].append(item)

    def key(self, call: TaggedCall) -> str | None:
        """What calls of the same question have in common; None where the suite does not have it."""
        if call.item in self._by_id:
            return f"id {call.item}"
        return call.prompt_hash if call.prompt_hash in self._by_hash else None

    def cycle(self, key: str) -> Iterator[Item]:
        """The items of a key for ever: items that ask the same take turns, since nothing tells them apart."""
        items = self._by_hash[key] if key in self._by_hash else [self._by_id[key.removeprefix("id ")]]
        while True:
            yield from items

    def of(self, sample: Sample, call: TaggedCall) -> Item | None:
        """The item a sample is about."""
        if sample.item.id in self._by_id and self._same(sample, self._by_id[sample.item.id]):
            return self._by_id[sample.item.id]
        if call.item in self._by_id:
            return self._by_id[call.item]
        hashes = (prompt_hash(sample.item.messages), *(asked.hash for asked in sample.asked[:1]))
        return next((self._by_hash[one][0] for one in hashes if one in self._by_hash), None)

    @staticmethod
    def _same(sample: Sample, item: Item) -> bool:
        return prompt_hash(sample.item.messages) == prompt_hash(item.messages)


class _Ledger:
    """Calls, each to be claimed once."""

    def __init__(self, calls: Sequence[TaggedCall], samples: Sequence[Sample]) -> None:
        self._by_id = {call.id: call for call in calls}
        named = {one for sample in samples for asked in sample.asked for one in asked.ids}
        self._by_hash: defaultdict[str, dict[tuple[str, float], list[Tries]]] = defaultdict(dict)
        grouped: defaultdict[tuple[str, tuple[str, float]], list[TaggedCall]] = defaultdict(list)
        for call in calls:
            if call.prompt_hash is not None and call.id not in named:
                grouped[call.prompt_hash, setting(call)].append(call)
        for (digest, where), own in grouped.items():
            self._by_hash[digest][where] = list(_tries(own))
        self.left = len(calls)
        """Calls nobody has claimed."""

    def claim(self, asked: Asked, model: str | None) -> Tries | None:
        """The calls of one question of a log; None where there is none left."""
        named = tuple(self._by_id.pop(one) for one in asked.ids if one in self._by_id)
        found = named or self._newest(asked.hash, model)
        self.left -= len(found)
        return found or None

    def _newest(self, digest: str, model: str | None) -> Tries:
        fitting = [own for own in self._by_hash[digest].values() if own and _fits(own[-1][-1], model)]
        if not fitting:
            return ()
        if model is None and len(fitting) > 1:
            raise ConfigError(
                "the log does not name its model, and the run asked several the same: keep lm-eval's results_*.json "
                "beside its samples, or tag each model's calls as a run of its own"
            )
        return max(fitting, key=lambda own: own[-1][-1].id).pop()


def _fits(call: TaggedCall, model: str | None) -> bool:
    """Harnesses put the provider before a model's name."""
    return model is None or model == call.requested_model or model.endswith(f"/{call.requested_model}")
