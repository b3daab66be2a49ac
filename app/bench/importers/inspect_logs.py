"""inspect_ai's eval logs: one file for each task and model.

`.json` logs are one object: `eval` (with `task`, `model`, `created`), `status` and `samples`. `.eval` logs are zip
archives of the same: `header.json` (or, of a run that never ended, `_journal/start.json`) and a file for each sample
under `samples/`, stored, deflated or, since 2026, compressed with Zstandard (zip method 93), which zipfile cannot read
before Python 3.14 and Arrow reads here. A sample holds `id, epoch, input, target, messages, output, scores,
model_usage, error, attachments`.
Source: UKGovernmentBEIS/inspect_ai, src/inspect_ai/log and scorer/_metric.py (letters C, P, I and N).
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from app.bench.importers.complaints import fail, listing, one_line, read_bytes
from app.bench.importers.documents import count, field, money, parse_object
from app.bench.importers.findings import Imported, describe
from app.bench.importers.gathering import Answer, Gathering
from app.bench.importers.prices import check_prices, cost
from app.bench.suite import Item, Suite
from app.core.types import Price

SUFFIXES = (".eval", ".json")
FINISHED = "success"
ZSTANDARD = 93
LARGEST = 1 << 30
"""Most bytes one file of an archive may unpack to."""
_LETTERS = {"c": 1.0, "p": 0.5, "i": 0.0, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_ATTACHED = "attachment://"
_CONVERT = "`inspect log convert --to json` writes one that can be read"


@dataclass(frozen=True)
class Log:
    """One eval log."""

    path: Path
    task: str
    model: str
    created: str
    status: str
    samples: list[dict[str, Any]]


def read_inspect(
    paths: Sequence[Path],
    name: str,
    *,
    scorer: str | None = None,
    prices: Mapping[str, Price] | None = None,
    allow_missing: bool = False,
) -> Imported:
    """The suite of eval logs (folders: all logs below them), graded as recorded.

    Items are `<task>/<sample id>`, categories the tasks, models as the logs name them. An item's chat is what stood
    before the model's first answer, else the sample's input; its target is the sample's where that is one text.
    `scorer` says whose scores count, and is needed where there are several. Scores are numbers in [0, 1], or inspect's
    letters (C = 1, P = .5, I = N = 0). Several epochs of a sample become their mean, with the first one's reply. Costs
    are the log's, else tokens times `prices` (see `parse_prices`). A sample that failed or was not scored is a missing
    cell. Of several logs of one task and model the latest finished one counts, else the latest.

    Every model must have every item, unless `allow_missing`. Raises `ConfigError` where a file or a cell is wrong, a
    price or a scorer is missing, or two models were not asked the same.
    """
    logs, notes = _latest(paths)
    gathering = Gathering()
    averaged = unscored = 0
    for log in logs:
        for epochs in _by_id(log):
            answers = [_answer(log, sample, scorer, prices or {}) for sample in epochs]
            scored = [answer for answer in answers if answer is not None]
            # A sample that failed may hold less of the chat than was asked.
            told = next((sample for sample, answer in zip(epochs, answers, strict=True) if answer), epochs[0])
            item = item_of(log, told)
            averaged += len(scored) > 1
            unscored += len(answers) - len(scored)
            gathering.add(log.path, item, item.messages if scored else None, log.model, _mean(scored))
    suite, more = gathering.suite(paths[0], name, allow_missing=allow_missing)
    if averaged:
        notes.append(f"{averaged:,} cells are means over several epochs; the reply is the first one's.")
    if unscored:
        notes.append(f"{unscored:,} samples failed or were not scored; they count as missing.")
    notes += more
    said = describe(f"inspect_ai: recorded outcomes of {len(gathering.models)} models.", suite.recorded, (), *notes)
    return Imported(Suite(name, suite.items, recorded=suite.recorded, description=said), notes=tuple(notes))


def _latest(paths: Sequence[Path]) -> tuple[list[Log], list[str]]:
    logs = [log for path in paths for log in (_logs_in(path) if path.is_dir() else [read_log(path)])]
    latest: dict[tuple[str, str], Log] = {}
    # One that was cut off does not take the place of a finished one.
    for log in sorted(logs, key=lambda log: (log.status == FINISHED, log.created)):
        latest[log.task, log.model] = log
    if not latest:
        fail(paths[0], "holds no eval log: pass .eval or .json files that inspect_ai wrote")
    notes = []
    if older := len(logs) - len(latest):
        notes.append(f"{older:,} logs left out for a later or finished one of the same task and model.")
    unfinished = [f"{log.task} of {log.model} ({log.status})" for log in latest.values() if log.status != FINISHED]
    if unfinished:
        notes.append(f"Unfinished: {listing(unfinished)}.")
    return list(latest.values()), notes


def _logs_in(folder: Path) -> Iterator[Log]:
    """The logs below a folder. inspect_ai keeps other JSON beside them (listings, sets of evals): passed over."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
        if path.suffix == ".eval":
            yield _log(path, *_archive(path))
        else:
            header = parse_object(path, read_bytes(path, "an eval log of inspect_ai"), "it")
            if "eval" in header:
                yield _log(path, header, field(path, header, "samples", list, "it"))


def read_log(path: Path) -> Log:
    """A log as it stands, `.json` or `.eval`. Raises `ConfigError`."""
    if path.suffix == ".eval":
        return _log(path, *_archive(path))
    header = parse_object(path, read_bytes(path, "an eval log of inspect_ai"), "it")
    return _log(path, header, field(path, header, "samples", list, "it"))


def _log(path: Path, header: dict[str, Any], samples: list[dict[str, Any]]) -> Log:
    if not all(isinstance(sample, dict) for sample in samples):
        fail(path, "'samples' is not a list of objects: pass a log as inspect_ai writes it")
    spec = field(path, header, "eval", dict, "it")
    return Log(
        path,
        field(path, spec, "task", str, "'eval'").rpartition("/")[2],
        field(path, spec, "model", str, "'eval'"),
        str(spec.get("created", "")),
        str(header.get("status", "started")),
        samples,
    )


def _archive(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            head = next((name for name in ("header.json", "_journal/start.json", "start.json") if name in names), None)
            if head is None:
                fail(path, "has no header.json: pass a log that inspect_ai wrote")
            header = parse_object(path, _unpacked(path, archive, head), head)
            return header, [
                parse_object(path, _unpacked(path, archive, name), name)
                for name in dict.fromkeys(names)  # what was written twice counts as it was last
                if name.startswith("samples/") and name.endswith(".json")
            ]
    except OSError as error:
        fail(path, f"cannot be read ({error.strerror or one_line(error)}): pass an eval log of inspect_ai")
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError) as error:
        fail(path, f"is not a zip archive that can be read ({one_line(error)}): {_CONVERT}")


def _unpacked(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(name)
    if entry.file_size > LARGEST:
        fail(path, f"{name} unpacks to {entry.file_size:,} bytes, more than is read: take the sample out")
    if entry.compress_type == ZSTANDARD:
        return _zstandard(path, archive, entry)
    try:
        with archive.open(entry) as file:
            return file.read(LARGEST)
    except NotImplementedError:
        fail(path, f"{name} is packed with zip method {entry.compress_type}, which is not read here: {_CONVERT}")


def _zstandard(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    assert archive.fp is not None
    archive.fp.seek(entry.header_offset)
    local = archive.fp.read(30)
    # The two lengths in the local header; those of the directory at the end may differ.
    name_length, extra_length = struct.unpack("<26x2H", local)
    archive.fp.seek(entry.header_offset + 30 + name_length + extra_length)
    packed = archive.fp.read(entry.compress_size)
    try:
        with pa.input_stream(pa.py_buffer(packed), compression="zstd") as stream:
            raw: bytes = stream.read(entry.file_size + 1)
    except (pa.ArrowException, OSError) as error:
        fail(path, f"{entry.filename} is damaged ({one_line(error)}): {_CONVERT}")
    if len(raw) != entry.file_size or zlib.crc32(raw) != entry.CRC:
        fail(path, f"{entry.filename} is damaged (its checksum is wrong): fetch or write it again")
    return raw


def _by_id(log: Log) -> Iterator[list[dict[str, Any]]]:
    """The samples, those of one id together in the order of their epochs."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for place, sample in enumerate(log.samples):
        key = field(log.path, sample, "id", (str, int), f"sample {place}")
        grouped.setdefault(str(key), []).append(sample)
    for samples in grouped.values():
        yield sorted(samples, key=lambda sample: count(sample, "epoch"))


def item_of(log: Log, sample: Mapping[str, Any]) -> Item:
    """What a sample asked (see `read_inspect`). Raises `ConfigError`."""
    where = f"sample {sample['id']}"
    chat = _before_answer(sample.get("messages"))
    asked = chat or sample.get("input")
    attachments = sample.get("attachments")
    attached = attachments if isinstance(attachments, dict) else {}
    if isinstance(asked, str):
        messages = [{"role": "user", "content": _resolved(asked, attached)}]
    elif isinstance(asked, list) and asked:
        messages = [_message(log.path, part, attached, where) for part in asked]
    else:
        fail(log.path, f"{where}: 'input' is missing: pass a log as inspect_ai writes it")
    return Item(
        id=f"{log.task}/{sample['id']}", category=log.task, messages=messages, target=_target(sample.get("target"))
    )


def _before_answer(messages: Any) -> list[Any]:
    """What stood in the chat before the model first answered; nothing where it never did."""
    if not isinstance(messages, list):
        return []
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    chat = messages[: roles.index("assistant")] if "assistant" in roles else []
    return chat if any(message.get("role") == "user" for message in chat) else []


def _message(path: Path, message: Any, attached: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        fail(path, f"{where}: a message of its chat has no role: pass a log as inspect_ai writes it")
    content = message.get("content")
    if isinstance(content, str):
        return {"role": message["role"], "content": _resolved(content, attached)}
    if not isinstance(content, list):
        fail(path, f"{where}: a message of its chat has no content: pass a log as inspect_ai writes it")
    return {"role": message["role"], "content": [_part(path, part, attached, where) for part in content]}


def _part(path: Path, part: Any, attached: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": _resolved(part["text"], attached)}
    if kind != "image" or not isinstance(part.get("image"), str):
        fail(path, f"{where}: its chat holds {kind!r}, and only text and images are taken: leave the sample out")
    return {"type": "image_url", "image_url": {"url": _resolved(part["image"], attached)}}


def _resolved(text: str, attached: Mapping[str, Any]) -> str:
    if text.startswith(_ATTACHED):
        kept = attached.get(text.removeprefix(_ATTACHED))
        return kept if isinstance(kept, str) else text
    return text


def _target(target: Any) -> str | None:
    if isinstance(target, list) and len(target) == 1:
        target = target[0]
    return target if isinstance(target, str) and target else None


def _answer(log: Log, sample: Mapping[str, Any], scorer: str | None, prices: Mapping[str, Price]) -> Answer | None:
    """What the model did; None where the sample was not scored."""
    value = score_of(log, sample, scorer)
    if value is None:
        return None
    usage = _usage(log, sample)
    asked, told = count(usage, "input_tokens"), count(usage, "output_tokens")
    paid = money(usage, "total_cost")
    if paid is None:
        check_prices(log.path, prices, [log.model])
        paid = cost(prices[log.model], asked, told)
    output = sample.get("output")
    reply = reply_of(output) if isinstance(output, dict) else None
    return Answer(value, paid, asked, told, reply)


def score_of(log: Log, sample: Mapping[str, Any], scorer: str | None) -> float | None:
    """The scorer's judgement as a number; None where there is none. Raises `ConfigError`."""
    # Logs of 2024 hold one `score`.
    scores: Any = sample.get("scores")
    if not scores and sample.get("score"):
        scores = {"score": sample["score"]}
    if not isinstance(scores, dict) or not scores:
        return None
    if scorer is None and len(scores) > 1:
        fail(log.path, f"sample {sample['id']} was scored by {listing(scores)}: name the scorer that counts")
    if scorer is not None and scorer not in scores:
        fail(log.path, f"sample {sample['id']} was not scored by {scorer!r} but by {listing(scores)}: name one of them")
    chosen = scores[scorer] if scorer is not None else next(iter(scores.values()))
    value = chosen.get("value") if isinstance(chosen, dict) else None
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    number = _number(value)
    if number is None:
        shown = json.dumps(value)[:60]
        fail(
            log.path, f"sample {sample['id']} has score {shown}, which is no number and none of C, P, I, N: convert it"
        )
    return number


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        value = _LETTERS.get(value.strip().lower(), value)
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None


def _usage(log: Log, sample: Mapping[str, Any]) -> Mapping[str, Any]:
    """Tokens of the model under test; a model that graded the sample stands in the log too and is not charged."""
    by_model = sample.get("model_usage")
    if isinstance(by_model, dict) and isinstance(by_model.get(log.model), dict):
        return by_model[log.model]  # type: ignore[no-any-return]
    output = sample.get("output")
    usage = output.get("usage") if isinstance(output, dict) else None
    return usage if isinstance(usage, dict) else {}


def reply_of(output: Mapping[str, Any]) -> str | None:
    """The text of a model's output."""
    completion = output.get("completion")
    if isinstance(completion, str) and completion:
        return completion
    choices = output.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else None


def _mean(answers: Sequence[Answer]) -> Answer:
    if not answers:
        return Answer(np.nan, np.nan, 0, 0, None)
    return Answer(
        float(np.mean([answer.quality for answer in answers])),
        float(np.mean([answer.cost for answer in answers])),
        round(float(np.mean([answer.prompt_tokens for answer in answers]))),
        round(float(np.mean([answer.completion_tokens for answer in answers]))),
        answers[0].reply,
    )
