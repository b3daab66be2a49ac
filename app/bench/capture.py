"""Capturing: a suite made of the calls a proxy has logged with their text.

What clients really ask is the only sample of what a router will be asked. Two choices, with their reasons:

- An item's category is the application it came from, told by a hash of its system prompt (`system:1a2b3c4d`). A suite
  is split and reported by category: a session would give thousands of categories of one item, and a router says how a
  call was served, not what was asked. Where fewer than `SMALLEST_CATEGORY` items share a system prompt (one that holds
  a date or a name differs each time), and where there is none, the category is `captured`.
- Redaction comes before everything else, so that what differs in a name alone is one item, and no hash is taken of
  what was to be hidden.
"""

from __future__ import annotations

import hashlib
import heapq
import importlib
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from app.bench.suite import Item, Recorded, Suite
from app.core.errors import ConfigError, HullspeedError
from app.store.database import Database
from app.store.queries.calls import CallFilter
from app.store.queries.decided import TextCall, stream_texts
from routers.base import message_text, seed_for

Messages = list[dict[str, Any]]
Redact = Callable[[Messages], Messages]
"""Takes a chat and gives it back without what must not be kept. Asked about each request, and about each reply as a
chat of one message."""

CATEGORY = "captured"
SMALLEST_CATEGORY = 10
"""Items; fewer would be a stratum too thin to split or to report on."""

_OUTSIDE = frozenset(
    {"tools", "functions", "response_format", "prediction", "audio", "modalities", "web_search_options"}
)
"""Fields that change what is asked, and that an item has no place for."""


@dataclass(frozen=True)
class Captured:
    """A suite, and what did not get into it."""

    suite: Suite
    calls: int
    """Calls looked at."""
    without_text: int
    """Calls whose text was not stored."""
    left_out: int
    """Calls that messages alone do not tell: tools, formats, several replies, bodies that cannot be read."""
    distinct: int
    """Different chats among the rest; the suite is a sample of them where it holds fewer items."""
    judged: int
    """Cells with a quality."""


@dataclass
class _Chat:
    """One chat and the newest call of each model that answered it."""

    messages: Messages
    answers: dict[str, tuple[TextCall, str]] = field(default_factory=dict)
    """Call and redacted reply by model."""

    def add(self, call: TextCall, reply: str) -> None:
        known = self.answers.get(call.model)
        # Calls come oldest first; a judged one is worth more than a newer one.
        if known is None or call.quality is not None or known[0].quality is None:
            self.answers[call.model] = (call, reply)


async def capture(
    database: Database,
    name: str,
    wanted: CallFilter,
    *,
    sample: int | None = None,
    seed: int = 0,
    redact: Redact | None = None,
) -> Captured:
    """The suite `name` of the calls in `wanted`; chats that differ in spaces alone are one item.

    `sample`: so many of the different chats, drawn with `seed`: the same ones whatever else there is in memory or in
    the order of calls. `redact`: default `mask`. No item has a target. The observed replies are the suite's outcomes:
    cost as billed, quality from the calls' scores and missing where there is none.

    Raises `ConfigError` where no call's text was stored, `HullspeedError` where there is no call or `redact` fails.
    """
    found = _Draw(sample, seed)
    reader = _Reader(redact or mask)
    async with aclosing(stream_texts(database, wanted)) as calls:
        async for call in calls:
            read = reader.read(call)
            if read is not None:
                found.add(call, *read)
    if not reader.calls:
        raise HullspeedError("No answered call fits: look at --since, --until, --router and --model.")
    if reader.without_text == reader.calls:
        raise ConfigError(
            f"None of the {reader.calls:,} calls has its text: prompts and replies are not kept unless the config says "
            "`ledger: {store_text: true}`. Serve with that; the calls from then on can be captured."
        )
    if not found.chats:
        raise HullspeedError(
            f"None of the {reader.calls - reader.without_text:,} calls with text can be told by its messages alone: "
            "all have tools, formats or several replies."
        )
    suite = _suite(name, found.chats)
    assert suite.recorded is not None
    judged = int((~np.isnan(suite.recorded.quality)).sum())
    return Captured(suite, reader.calls, reader.without_text, reader.left_out, found.distinct, judged)


class _Reader:
    """Reads calls, redacted, and counts those that cannot be used."""

    def __init__(self, redact: Redact) -> None:
        self.calls = self.without_text = self.left_out = 0
        self._redact = redact

    def read(self, call: TextCall) -> tuple[Messages, str] | None:
        """The redacted chat and reply; None where the call cannot be an item."""
        self.calls += 1
        if call.request_text is None or call.reply_text is None:
            self.without_text += 1
            return None
        messages = _messages(call.request_text)
        if messages is None:
            self.left_out += 1
            return None
        said = self._redacted(call, [{"role": "assistant", "content": call.reply_text}])
        return self._redacted(call, messages), "\n".join(message_text(message) for message in said)

    def _redacted(self, call: TextCall, messages: Messages) -> Messages:
        try:
            redacted: Any = self._redact(messages)  # somebody else's code: what it gives back is checked
            msgspec.json.encode(redacted)
        except Exception as error:
            # Type and place only: the error's own words may hold what was to be hidden.
            raise HullspeedError(
                f"the redaction failed on call {call.id} ({type(error).__name__}{_place(error)}); nothing was captured"
            ) from None
        if (
            not isinstance(redacted, list)
            or not redacted
            or not all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in redacted)
        ):
            raise HullspeedError(
                f"the redaction gave back no list of messages for call {call.id}; nothing was captured"
            )
        return redacted


class _Draw:
    """Different chats as they come by: all of them, or `sample` ones drawn by a hash of seed and chat.

    Those with the smallest hashes are kept, so the draw does not depend on the order of calls, and of all the others
    memory holds eight bytes each.
    """

    def __init__(self, sample: int | None, seed: int) -> None:
        self.distinct = 0
        self._sample = sample
        self._seed = seed
        self._seen: set[bytes] = set()
        self._chats: dict[bytes, _Chat] = {}
        self._ranks: list[tuple[int, bytes]] = []

    @property
    def chats(self) -> dict[str, _Chat]:
        """What was drawn, by the ids of the items, in the order in which they were first asked."""
        return {f"{CATEGORY}-{key.hex()}": chat for key, chat in self._chats.items()}

    def add(self, call: TextCall, messages: Messages, reply: str) -> None:
        key = _key(messages)
        if key not in self._seen:
            self._seen.add(key)
            self.distinct += 1
            self._draw(key, messages)
        chat = self._chats.get(key)
        if chat is not None:
            chat.add(call, reply)

    def _draw(self, key: bytes, messages: Messages) -> None:
        if self._sample is not None:
            heapq.heappush(self._ranks, (-seed_for(self._seed, key.hex()), key))
        self._chats[key] = _Chat(messages)
        if self._sample is not None and len(self._ranks) > self._sample:
            del self._chats[heapq.heappop(self._ranks)[1]]


def _messages(body: str) -> Messages | None:
    try:
        chat = msgspec.json.decode(body.encode("utf-8", "replace"))
    except msgspec.DecodeError:
        return None
    messages = chat.get("messages") if isinstance(chat, dict) else None
    if not isinstance(messages, list) or not messages or (chat.get("n") or 1) != 1:
        return None
    if any(chat.get(name) for name in _OUTSIDE) or not all(isinstance(message, dict) for message in messages):
        return None
    return messages


def _key(messages: Messages) -> bytes:
    """8 bytes that are the same for chats that differ in spaces and in the order of keys alone."""
    return hashlib.blake2b(msgspec.json.encode(_normal(messages), order="sorted"), digest_size=8).digest()


def _normal(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFC", value).split())
    if isinstance(value, list):
        return [_normal(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _normal(entry) for name, entry in value.items()}
    return value


def _suite(name: str, chats: dict[str, _Chat]) -> Suite:
    tags = {item: _application(chat.messages) for item, chat in chats.items()}
    sizes = Counter(tags.values())
    categories = {item: tag if sizes[tag] >= SMALLEST_CATEGORY else CATEGORY for item, tag in tags.items()}
    models = tuple(sorted({model for chat in chats.values() for model in chat.answers}))
    shape = (len(chats), len(models))
    quality, cost = np.full(shape, np.nan), np.full(shape, np.nan)
    tokens = np.zeros((2, *shape), dtype=np.int64)
    replies = np.full(shape, None, dtype=np.object_)
    for row, chat in enumerate(chats.values()):
        for model, (call, reply) in chat.answers.items():
            cell = row, models.index(model)
            quality[cell] = np.nan if call.quality is None else call.quality
            cost[cell] = np.nan if call.cost_usd is None else float(call.cost_usd)
            tokens[(0, *cell)] = call.prompt_tokens or 0
            tokens[(1, *cell)] = call.completion_tokens or 0
            replies[cell] = reply
    return Suite(
        name=name,
        items=tuple(Item(id=item, category=categories[item], messages=chat.messages) for item, chat in chats.items()),
        recorded=Recorded(models, quality, cost, tokens[0], tokens[1], replies),
        simulated=any(call.simulated for chat in chats.values() for call, _ in chat.answers.values()),
        description="Captured from logged calls; quality is that of the calls' scores.",
    )


def _application(messages: Messages) -> str:
    said = [_normal(message_text(message)) for message in messages if message.get("role") in ("system", "developer")]
    if not any(said):
        return CATEGORY
    return f"system:{hashlib.blake2b(msgspec.json.encode(said), digest_size=4).hexdigest()}"


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f", {Path(trace.tb_frame.f_code.co_filename).name} line {trace.tb_lineno}"


def load_redaction(text: str) -> Redact:
    """What `--redact` names: `none`, or the callable `module:function`, found from the working directory too.

    Raises `ConfigError`.
    """
    if text == "none":
        return lambda messages: messages
    module, colon, function = text.partition(":")
    if not (module and colon and function):
        raise ConfigError(f"--redact {text!r} is not of the form module:function (or `none`)", param="redact")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise ConfigError(
            f"--redact {text}: cannot be imported ({type(error).__name__}: {error})", param="redact"
        ) from None
    if not callable(found):
        raise ConfigError(f"--redact {text}: `{function}` cannot be called", param="redact")
    redact: Redact = found
    return redact


def mask(messages: Messages) -> Messages:
    """The default: e-mail addresses, phone numbers and keys become `[e-mail]`, `[phone]` and `[key]`.

    A net with holes (names and addresses pass through it, as do pictures), not a promise: who has more to hide brings
    a function of their own.
    """
    masked: Messages = _masked(messages)
    return masked


_LEFT_ALONE = frozenset({"role", "type", "id", "tool_call_id"})
_DATA = re.compile(r"data:[\w.+/-]{0,127}(?:;[\w.=-]{1,127}){0,4};base64,[A-Za-z0-9+/=_-]*")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")
_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{0,8192}?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|gsk_[A-Za-z0-9]{16,}|hf_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|ya29\.[\w-]{16,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
    r"|(?i:\bBearer\s{1,3})[A-Za-z0-9._~+/-]{16,}=*"
)
_ASSIGNED = re.compile(
    r"(?i)\b((?:[a-z0-9]{1,20}[_-]){0,4}(?:api[_-]?key|secret|token|password|passwd|pwd)[\"']?\s{0,3}[:=]\s{0,3}[\"']?)"
    r"(?=[^\s\"',;]{0,200}[\d!@#$%^&*])([^\s\"',;]{8,200})"
)
_PHONE = re.compile(
    r"(?<![\w.+/-])(?:"
    r"\+\d(?:[ .()/-]{0,2}\d){6,14}"  # international
    r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}"  # North America
    r"|0[1-9]\d{1,3}[ /-]\d{3,5}(?:[ -]?\d{2,5}){1,2}"  # national, with an area code
    r"|0[1-9](?:[ .-]\d{2}){4}"  # France and others, in pairs
    r")(?![\w-])"
)


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        # A picture inside a message is megabytes of letters that mean nothing here.
        return value if _DATA.fullmatch(value) else _mask_text(value)
    if isinstance(value, list):
        return [_masked(entry) for entry in value]
    if isinstance(value, dict):
        return {name: entry if name in _LEFT_ALONE else _masked(entry) for name, entry in value.items()}
    return value


def _mask_text(text: str) -> str:
    text = _ASSIGNED.sub(r"\1[key]", _KEY.sub("[key]", text))
    return _PHONE.sub("[phone]", _EMAIL.sub("[e-mail]", text))
