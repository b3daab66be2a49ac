"""Sentence embeddings of prompts, for the routers that were trained with them.

Two embedders are real: an ONNX model in a folder that somebody brings, and an embedding model of the catalog. Around
either stands one cache, so that a prompt is computed once: repeated prompts cost a look-up, and requests for the same
text at the same time share one computation, which goes on for the next one where this one could not wait.

Both read the same part of a prompt: as many characters as the budget has tokens, times four, two thirds from the
start and one third from the end, for what is asked stands at either. numpy is imported when the first is computed.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from app.core.errors import ConfigError, HullspeedError
from app.core.types import Attempt
from app.gateway.call import OpenCall, RequestHead
from app.gateway.dialects.embeddings import Embeddings
from app.gateway.upstream import UpstreamError
from routers import Router

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.gateway.attempts import Attempts

    Vector = NDArray[np.float32]

CHARACTERS = 4
"""Of a token, on average."""
WAITING = 64
"""Most texts whose computation is under way; further ones are refused, for they would all be late."""
SIDE_BY_SIDE = 8
"""Texts computed at the same time when there are many."""


class EmbeddingFailed(HullspeedError):
    """There is no embedding: the embedder failed, is overloaded, or answered with something that is no vector."""

    def __init__(self, message: str, attempts: tuple[Attempt, ...] = ()) -> None:
        super().__init__(message)
        self.attempts = attempts
        """The calls that were made for it."""


@dataclass(frozen=True)
class Embedded:
    """An embedding and what it took."""

    vector: Vector
    """Shape (e,), of length 1."""
    attempts: tuple[Attempt, ...] = ()
    """The calls that were made for it: none where another request's are shared."""


class Embedder(Protocol):
    """Turns a text into a vector. `embed` raises `HullspeedError` where it cannot."""

    @property
    def name(self) -> str:
        """What artifacts name it by: equal names, equal vectors."""

    async def embed(self, text: str) -> Embedded: ...

    def close(self) -> None: ...


def shortened(text: str, tokens: int) -> str:
    """The part of a text that is read."""
    most = CHARACTERS * tokens
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 1]}\n{text[-tail:]}"


class OnnxEmbedder:
    """A sentence-transformers model as ONNX: mean over the tokens that the attention mask has, of length 1.

    Needs the packages of the extra `onnx`. One text at a time on one thread of its own: a batch pads, and padded sums
    differ in their last digits from those of the text alone.
    """

    def __init__(self, folder: Path, tokens: int) -> None:
        """`tokens`: most that are read. Raises `ConfigError` naming what is missing or cannot be used."""
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ConfigError(
                f"an ONNX embedder needs the package {error.name}: pip install 'hullspeed[onnx]'", param="onnx"
            ) from None
        files = [folder / "model.onnx", folder / "tokenizer.json"]
        try:
            digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files))
        except OSError as error:
            raise ConfigError(
                f"{error.filename} cannot be read: {error.strerror}; give a folder with model.onnx and tokenizer.json",
                param="onnx",
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(files[0], options, providers=["CPUExecutionProvider"])
            self._tokenizer = Tokenizer.from_file(str(files[1]))
        except Exception as error:  # neither package has a base class for what it raises
            raise ConfigError(f"{folder} holds no model that can be run: {error}", param="onnx") from None
        self._tokenizer.enable_truncation(tokens)
        self._tokenizer.no_padding()
        self._inputs = {given.name for given in self._session.get_inputs()}
        if not self._inputs <= {"input_ids", "attention_mask", "token_type_ids"}:
            wanted = ", ".join(sorted(self._inputs))
            raise ConfigError(f"{files[0]} takes {wanted}: it is no model of sentences", param="onnx")
        self._tokens = tokens
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="embedder")
        self.name = f"onnx:{digest.hexdigest()[:12]}@{tokens}"

    async def embed(self, text: str) -> Embedded:
        return Embedded(await asyncio.get_running_loop().run_in_executor(self._threads, self._compute, text))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _compute(self, text: str) -> Vector:
        import numpy as np

        # The tokenizer takes no half of a surrogate pair, which JSON can hold.
        whole = shortened(text, self._tokens).encode("utf-8", "replace").decode()
        encoded = self._tokenizer.encode(whole)
        rows = {
            "input_ids": encoded.ids,
            "attention_mask": encoded.attention_mask,
            "token_type_ids": encoded.type_ids,
        }
        if not encoded.ids:
            raise EmbeddingFailed("the text holds no token")
        found = self._session.run(None, {name: np.array([rows[name]], np.int64) for name in self._inputs})[0]
        if found.ndim == 3:
            mask = np.array(encoded.attention_mask, np.float32)
            found = (found[0] * mask[:, None]).sum(axis=0) / max(float(mask.sum()), 1.0)
        return unit(np.asarray(found, np.float32).ravel())


class ModelEmbedder:
    """An embedding model of the catalog, called like any other: its deployments by their health, with retries."""

    def __init__(self, model: str, attempts: Attempts, tokens: int) -> None:
        self._model, self._attempts, self._tokens = model, attempts, tokens
        self._dialect = Embeddings()
        self.name = f"model:{model}@{tokens}"

    async def embed(self, text: str) -> Embedded:
        import numpy as np

        body = {"model": self._model, "input": shortened(text, self._tokens) or " ", "encoding_format": "float"}
        call = OpenCall(RequestHead(self._dialect.endpoint), self._dialect)
        call.asked = self._dialect.parse(msgspec.json.encode(body))
        try:
            answer = await self._attempts.whole(call, [self._model])
            vector = np.array(msgspec.json.decode(answer.fields["data"], type=list[_Row])[0].embedding, np.float32)
            return Embedded(unit(vector), tuple(call.attempts))
        except (msgspec.DecodeError, IndexError):
            raise EmbeddingFailed(f"model `{self._model}` sent no embedding", tuple(call.attempts)) from None
        except (UpstreamError, EmbeddingFailed) as error:
            raise EmbeddingFailed(error.message, tuple(call.attempts)) from None

    def close(self) -> None:
        """The upstreams are the proxy's."""


class _Row(msgspec.Struct):
    embedding: list[float]


class Cache:
    """An embedder that remembers. Made for one event loop at a time."""

    def __init__(self, embedder: Embedder, most: int) -> None:
        """`most`: embeddings kept; the one unused for longest goes first."""
        self._embedder, self._most = embedder, most
        self._known: OrderedDict[bytes, Vector] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[Embedded]] = {}

    @property
    def name(self) -> str:
        return self._embedder.name

    async def embed(self, text: str) -> Embedded:
        """Raises `HullspeedError` where there is no embedding. Cancelled, the computation goes on for the cache."""
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return Embedded(known)
        shared = self._running.get(key)
        if shared is not None:
            # Whoever began it pays.
            try:
                return Embedded((await asyncio.shield(shared)).vector)
            except EmbeddingFailed as error:
                raise EmbeddingFailed(error.message) from None
        if len(self._running) >= WAITING:
            raise EmbeddingFailed(f"{WAITING} texts are being embedded already")
        task = self._running[key] = asyncio.create_task(self._embedder.embed(text))
        task.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(task)

    def _keep(self, key: bytes, task: asyncio.Task[Embedded]) -> None:
        del self._running[key]
        # Asking for the exception marks it as seen: a late failure has no one to tell.
        if task.cancelled() or task.exception() is not None:
            return
        self._known[key] = task.result().vector
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    async def embed_all(self, texts: Sequence[str], on_done: Callable[[int], None] = lambda _done: None) -> Vector:
        """Embeddings of n texts, shape (n, e); raises like `embed`. `on_done` is told how many there are."""
        import numpy as np

        found: list[Vector] = [np.zeros(0, np.float32)] * len(texts)
        places, done = iter(range(len(texts))), 0

        async def work() -> None:
            nonlocal done
            for place in places:
                found[place] = (await self.embed(texts[place])).vector
                done += 1
                on_done(done)

        workers = [asyncio.create_task(work()) for _ in range(SIDE_BY_SIDE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if len({len(vector) for vector in found}) > 1:
            raise EmbeddingFailed(f"embedder `{self.name}` gave vectors of different lengths")
        return np.array(found, np.float32).reshape(len(texts), -1)

    def close(self) -> None:
        """Let go of threads and of what is still running."""
        for task in self._running.values():
            task.cancel()
        self._embedder.close()


def unit(vector: Vector) -> Vector:
    """The vector at length 1. Raises `EmbeddingFailed` for one that has no direction, or is none."""
    import numpy as np

    norm = math.sqrt(float(vector.astype(np.float64) @ vector)) if vector.ndim == 1 else 0.0
    if not 0 < norm < math.inf:
        raise EmbeddingFailed("the embedding is not a vector of finite numbers other than zero")
    return vector / np.float32(norm)


def check_needs(routers: Mapping[str, Router], embedder: str | None, key: str = "routing.embedding") -> None:
    """Raise `ConfigError` where a router was trained with other embeddings than `embedder`'s, which `key` sets."""
    for name, router in routers.items():
        wanted = router.needs_embedding
        if wanted not in (None, embedder):
            there = f"`{embedder}`" if embedder else "none"
            raise ConfigError(
                f"{key}: router `{name}` was trained with embeddings of `{wanted}`, and there is {there}: "
                "name the same embedder and tokens, or train the router again",
                param=key,
            )
