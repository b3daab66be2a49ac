"""What a harness wrote down of its run: each sample with its chats, its reply and its score.

- inspect_ai: `.eval` or `.json` logs (see `app.bench.importers.inspect_logs`). Of a sample's `events` those of kind
  `model` are its calls, but for the calls of a scorer and of other models. Each has `input`, or `input_refs` into the
  messages under `events_data`, the request as it was sent under `call.request`, and since 2025 `request_ids`: the
  `x-request-id` of each reply, which is our call's id.
- lm-evaluation-harness: the `samples_<task>_<time>.jsonl` of `--log_samples`, a line per document and filter:
  `doc_id, target, arguments, resps, filtered_resps, filter, metrics` and each metric by its name. The model's name
  stands in the `results_<time>.json` beside it.

Sources: UKGovernmentBEIS/inspect_ai, src/inspect_ai/event and log/_condense.py (0.3.285); EleutherAI/
lm-evaluation-harness, lm_eval/evaluator.py and loggers/evaluation_tracker.py (0.4.13).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.bench.importers.complaints import SHOWN, fail, listing, one_line, read_bytes
from app.bench.importers.documents import parse_object
from app.bench.importers.inspect_logs import SUFFIXES, Log, item_of, read_log, reply_of, score_of
from app.bench.suite import Item
from app.gateway.prompt_hash import prompt_hash
from app.store.text import clean

SAMPLES = ".jsonl"
_RESULTS = "results_"
_ATTACHED = "attachment://"


@dataclass(frozen=True)
class Asked:
    """One question a harness put to its model."""

    hash: str
    """Digest of the chat, as the ledger has it."""
    ids: tuple[str, ...] = ()
    """Ids of the replies to it, as the client saw them; none where the log has none."""


@dataclass(frozen=True)
class Sample:
    """One item as a harness ran it once."""

    item: Item
    model: str | None
    """The model as the harness names it; None where the log does not say."""
    asked: tuple[Asked, ...]
    quality: float | None
    """The harness's own score, in [0, 1]; None where it gave none."""
    scorer: str | None
    reply: str | None
    error: str | None = None
    """Why the harness gave up on it."""


def read_samples(paths: Sequence[Path], scorer: str | None = None) -> list[Sample]:
    """The samples of logs (folders: all logs below them), in their order.

    `scorer`: whose scores count, needed where there are several: a scorer of inspect_ai's, or a metric of lm-eval's,
    with its filter where there are several (`exact_match,strict-match`). Raises `ConfigError` that names file and
    sample where one cannot be read, was not asked as a chat, or has a score outside [0, 1].
    """
    samples: list[Sample] = []
    for path in paths:
        for file in _files(path):
            read = _lm_eval if file.suffix == SAMPLES else _inspect
            for sample in read(file, scorer):
                if sample.quality is not None and not 0 <= sample.quality <= 1:
                    fail(file, f"{sample.item.id} has score {sample.quality:g}: only scores in [0, 1] can be adopted")
                samples.append(sample)
    return samples


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in (SAMPLES, *SUFFIXES))
    found = [file for file in found if not file.name.startswith(_RESULTS)]
    if not found:
        fail(path, "holds no log: pass inspect_ai's .eval or .json logs, or lm-eval's samples_*.jsonl")
    return found


def _item(path: Path, item_id: str, category: str, messages: list[dict[str, Any]], target: Any) -> Item:
    if not all(isinstance(message, dict) for message in messages):
        fail(path, f"{item_id}: its chat is no list of messages: pass a log as the harness writes it")
    # JSON may hold half a surrogate pair, which neither a digest nor Postgres can take.
    said = clean(target) if isinstance(target, str) and target else None
    return Item(id=clean(item_id), category=clean(category), messages=clean(messages), target=said)


# ------------------------------------------------------------------------------------------------- inspect_ai


def _inspect(path: Path, scorer: str | None) -> Iterator[Sample]:
    log = read_log(path)
    for sample in log.samples:
        found = item_of(log, sample)
        item = _item(path, found.id, found.category, found.messages, found.target)
        output = sample.get("output")
        error = sample.get("error")
        reply = reply_of(output) if isinstance(output, dict) else None
        quality = score_of(log, sample, scorer)
        names = sample.get("scores")
        yield Sample(
            item=item,
            model=log.model,
            asked=tuple(_model_events(log, sample)),
            quality=quality,
            scorer=scorer or (next(iter(names), None) if isinstance(names, dict) else None),
            reply=clean(reply),
            error=str(error.get("message") if isinstance(error, dict) else error)[:500] if error else None,
        )


def _model_events(log: Log, sample: Mapping[str, Any]) -> Iterator[Asked]:
    """The calls of the model under test, in order; what a cache answered was not called."""
    listed = sample.get("events")
    events = [event for event in listed if isinstance(event, dict)] if isinstance(listed, list) else []
    scoring = _scoring_spans(events)
    for event in events:
        if event.get("event") != "model" or event.get("model") != log.model or event.get("cache") == "read":
            continue
        if event.get("span_id") in scoring:
            continue
        ids = [entry.get("id") for entry in event.get("request_ids") or () if isinstance(entry, dict)]
        chat = _resolved(_chat(event, sample), sample.get("attachments") or {})
        yield Asked(_hash(log.path, chat, f"sample {sample.get('id')}"), tuple(str(one) for one in ids if one))


def _scoring_spans(events: Sequence[Mapping[str, Any]]) -> set[Any]:
    """Spans in which scorers work: what they ask the model is not the model's answer to the sample."""
    spans: set[Any] = set()
    for event in events:
        if event.get("event") == "span_begin" and (
            event.get("type") in ("scorer", "scorers") or event.get("parent_id") in spans
        ):
            spans.add(event.get("id"))
    return spans


def _chat(event: Mapping[str, Any], sample: Mapping[str, Any]) -> list[Any]:
    """What the event asked, in OpenAI's form: the request itself where the log has it."""
    pools = sample.get("events_data")
    pools = pools if isinstance(pools, dict) else {}
    call = event.get("call")
    request = call.get("request") if isinstance(call, dict) else None
    if isinstance(call, dict) and isinstance(request, dict):
        sent = request.get("messages") or _pooled(call.get("call_refs"), pools.get("calls"))
        if sent:
            return list(sent)
    said = event.get("input") or _pooled(event.get("input_refs"), pools.get("messages"))
    return [_as_sent(message) for message in said if isinstance(message, dict)]


def _pooled(refs: Any, pool: Any) -> list[Any]:
    """Entries of a pool by ranges, each `[first, end]`."""
    if not isinstance(refs, list) or not isinstance(pool, list):
        return []
    ranges = [
        pair for pair in refs if isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, int) for n in pair)
    ]
    return [entry for first, end in ranges for entry in pool[first:end]]


def _as_sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message of inspect_ai's in OpenAI's form; reasoning, which is not sent back, is left out."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        content = [
            {"type": "image_url", "image_url": {"url": part.get("image")}} if part.get("type") == "image" else part
            for part in parts
            if part.get("type") != "reasoning"
        ]
    calls = [call for call in message.get("tool_calls") or () if isinstance(call, dict)]
    functions = [{"function": {"name": call.get("function"), "arguments": call.get("arguments")}} for call in calls]
    return {"role": message.get("role"), "content": content, "tool_calls": functions}


def _resolved(value: Any, attached: Mapping[str, Any]) -> Any:
    """`value` with long texts, which a log keeps once, put back in their places."""
    if isinstance(value, str) and value.startswith(_ATTACHED):
        return attached.get(value.removeprefix(_ATTACHED), value)
    if isinstance(value, list):
        return [_resolved(entry, attached) for entry in value]
    if isinstance(value, dict):
        return {name: _resolved(entry, attached) for name, entry in value.items()}
    return value


def _hash(path: Path, messages: Sequence[Any], where: str) -> str:
    try:
        return prompt_hash(clean([message for message in messages if isinstance(message, dict)]))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        fail(path, f"{where}: its chat cannot be read ({one_line(error)}): leave it out")


# ----------------------------------------------------------------------------------------------------- lm-eval


def _lm_eval(path: Path, scorer: str | None) -> Iterator[Sample]:
    lines = _lines(path)
    metric, chosen = _metric(path, lines, scorer)
    task = _task(path)
    model = _model_beside(path)
    for number, line in lines:
        if line.get("filter") != chosen:
            continue
        where = f"line {number}"
        chats = [_lm_eval_chat(path, where, one) for one in (line.get("arguments") or {}).values()]
        if not chats:
            fail(path, f"{where}: has no 'arguments': pass what --log_samples wrote")
        # Each request is answered as often as the task repeats it.
        resps = line.get("resps")
        times = [len(one) if isinstance(one, list) else 1 for one in resps] if isinstance(resps, list) else []
        repeats = times if len(times) == len(chats) else [1] * len(chats)
        asked = [
            Asked(_hash(path, chat, where)) for chat, count in zip(chats, repeats, strict=True) for _ in range(count)
        ]
        value = line.get(metric)
        if not isinstance(value, int | float):
            fail(path, f"{where}: metric {metric!r} is no number for a single document: choose another --scorer")
        yield Sample(
            item=_item(path, f"{task}/{line.get('doc_id')}", task, chats[0], line.get("target")),
            model=model,
            asked=tuple(asked),
            quality=float(value),
            scorer=metric if chosen in (None, "none") else f"{metric},{chosen}",
            reply=clean(_first_text(resps)),
        )


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    raw = read_bytes(path, "the samples_*.jsonl of lm-eval")
    lines = [
        (number, parse_object(path, text, f"line {number}"))
        for number, text in enumerate(raw.split(b"\n"), start=1)
        if text.strip()
    ]
    if not lines:
        fail(path, "holds no samples: pass what --log_samples wrote")
    return lines


def _metric(path: Path, lines: Sequence[tuple[int, Mapping[str, Any]]], scorer: str | None) -> tuple[str, Any]:
    """The metric and the filter that count. Raises `ConfigError` where that is not clear."""
    listed: dict[tuple[str, Any], None] = {}
    for _, line in lines:
        names = line.get("metrics")
        for name in names if isinstance(names, list) else ():
            listed[str(name), line.get("filter")] = None
    there = listing(f"{name},{way}" for name, way in listed)
    fitting = [pair for pair in listed if scorer in (None, pair[0], f"{pair[0]},{pair[1]}")]
    if len(fitting) != 1:
        if not listed:
            fail(path, "names no 'metrics': pass what --log_samples wrote")
        if fitting:
            fail(path, f"was scored by {there}: name the one that counts with --scorer")
        fail(path, f"was not scored by {scorer!r} but by {there}: name one of them")
    return fitting[0]


def _lm_eval_chat(path: Path, where: str, arguments: Any) -> list[dict[str, Any]]:
    """The chat of one request: its first argument, messages as JSON text."""
    first = arguments.get("arg_0") if isinstance(arguments, dict) else None
    if isinstance(first, list) and len(first) == 1:
        first = first[0]
    try:
        chat = json.loads(first) if isinstance(first, str) else None
    except ValueError:
        chat = None
    if not isinstance(chat, list) or not chat or not all(isinstance(message, dict) for message in chat):
        fail(path, f"{where}: was not asked as a chat: run lm-eval with --apply_chat_template")
    return chat


def _first_text(resps: Any) -> str | None:
    while isinstance(resps, list) and resps:
        resps = resps[0]
    return resps if isinstance(resps, str) else None


def _task(path: Path) -> str:
    """`samples_<task>_<time>.jsonl`; the name of any other file as it is."""
    stem = path.stem.removeprefix("samples_")
    name, _, time = stem.rpartition("_")
    return name if name and time[:4].isdigit() else stem


def _model_beside(path: Path) -> str | None:
    """The model that the results of the same time name, or any results of the folder where all name the same."""
    time = path.stem.rpartition("_")[2]
    beside = sorted(path.parent.glob(f"{_RESULTS}*.json"))
    same = [file for file in beside if file.stem == f"{_RESULTS}{time}"]
    names = set()
    for file in same or beside:
        name = parse_object(file, read_bytes(file, "the results of lm-eval"), "it").get("model_name")
        names.add(name if isinstance(name, str) and name else None)
    return names.pop() if len(names) == 1 else None


def tasks_of(samples: Sequence[Sample]) -> str:
    """The names of the tasks, to call a suite of them by."""
    names = list(dict.fromkeys(sample.item.category for sample in samples))
    return "+".join(names[:SHOWN]) + (f"+{len(names) - SHOWN}" if len(names) > SHOWN else "")
