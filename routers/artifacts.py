"""What a trained router is kept as: a folder of numbers and JSON, never of code.

`manifest.json` names the router, its version and parameters, what it was trained on, and the SHA-256 of every other
file; arrays stand in `.npz` files that are read without pickle. So an artifact from a stranger can be wrong, but it
cannot run anything. The hashes find damage and mix-ups; they are no signature.

Nothing in a folder depends on when or where it was written: two fits of the same outcomes with the same seed, the
same libraries and the same kind of processor give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from routers import registry
from routers.base import Router, TrainableRouter
from routers.card import Card
from routers.params import bind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from routers.outcomes import Outcomes

T = TypeVar("T")

FORMAT = 1
"""Version of the layout described above."""
MANIFEST = "manifest.json"
_ARRAYS = "arrays.npz"
_ITEMS = "items.json"
_CARD = "card.json"
_LIBRARIES = ("numpy", "scikit-learn")


class ArtifactError(ValueError):
    """A folder is not the artifact it should be; the message names the file and what to do."""


@dataclass(frozen=True)
class TrainedOn:
    """What a router has seen, kept with it so that a bench can tell whether it is scored on its own lessons."""

    suite: str
    outcomes: str
    """`Outcomes.digest`."""
    models: tuple[str, ...]
    items: tuple[str, ...]
    """`item_hash` of every item's id, sorted."""

    @classmethod
    def of(cls, outcomes: Outcomes) -> TrainedOn:
        """The record of `outcomes`."""
        hashes = tuple(sorted(map(item_hash, outcomes.items)))
        return cls(outcomes.suite, outcomes.digest(), outcomes.models, hashes)

    def saw(self, item: str) -> bool:
        """Whether the item with this id was trained on."""
        return item_hash(item) in self._known

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.items)


@dataclass(frozen=True)
class Artifact:
    """A folder's content once its hashes, router and version have been checked."""

    folder: Path
    params: Mapping[str, Any]
    trained_on: TrainedOn
    arrays: Mapping[str, NDArray[Any]]
    documents: Mapping[str, Any]
    """Content of the JSON files, by name without `.json`."""

    def array(self, name: str, kind: str, *shape: int | None, missing: bool = False) -> NDArray[Any]:
        """An array of this dtype kind (`f` float, `i` integer) and shape (None: any length), else `ArtifactError`.

        Its numbers must be finite; with `missing`, NaN may stand for a missing cell.
        """
        import numpy as np

        array = self.arrays.get(name)
        where = f"{self.folder / _ARRAYS}: array {name!r}"
        if array is None:
            raise ArtifactError(f"{where} is missing; train the router again")
        fits = array.ndim == len(shape) and all(
            wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True)
        )
        if array.dtype.kind != kind or not fits:
            raise ArtifactError(
                f"{where} has dtype {array.dtype} and shape {array.shape}, expected kind {kind!r} and {shape}; "
                "train the router again"
            )
        if kind == "f" and not (np.isfinite(array) | (np.isnan(array) & missing)).all():
            raise ArtifactError(f"{where} holds values that are not finite; train the router again")
        return array

    def texts(self, name: str) -> tuple[str, ...]:
        """A JSON file that is a list of strings, else `ArtifactError`."""
        value = self.documents.get(name)
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise ArtifactError(f"{self.folder / name}.json is not a list of strings; train the router again")
        return tuple(value)

    def settings(self, kind: type[T]) -> T:
        """The parameters of training as their dataclass `kind`, else `ArtifactError`."""
        try:
            return bind(kind, self.params, owner="params")
        except ValueError as error:
            raise ArtifactError(f"{self.folder / MANIFEST}: {error}; train the router again") from error


@dataclass(frozen=True)
class KeptFile:
    """A file of an artifact, as it is now."""

    name: str
    size: int | None
    """Bytes; None where it cannot be read."""
    sha256: str
    """As the manifest has it."""
    problem: str | None
    """What is wrong with it; None where it is the file that was written."""


@dataclass(frozen=True)
class Described:
    """What the manifest of an artifact says, and whether its files are those it speaks of."""

    router: str
    version: str
    params: Mapping[str, Any]
    suite: str
    outcomes: str
    """`Outcomes.digest` of what it was trained on."""
    n_items: int | None
    models: tuple[str, ...]
    libraries: Mapping[str, str]
    """Name → version, of what it was trained with."""
    files: tuple[KeptFile, ...]
    written_at: float
    """POSIX time of the manifest's file: nothing within it says when it was trained."""


def describe(folder: Path) -> Described:
    """Look at an artifact without making a router of it. Reads every file whole; raises `ArtifactError` where the
    manifest cannot be used."""
    manifest = _manifest(folder)
    origin, libraries = manifest["trained_on"], manifest.get("libraries")
    n_items = origin.get("n_items")
    return Described(
        router=manifest["router"],
        version=manifest["router_version"],
        params=manifest["params"],
        suite=origin["suite"],
        outcomes=origin["outcomes_sha256"],
        n_items=n_items if isinstance(n_items, int) else None,
        models=tuple(map(str, origin["models"])),
        libraries=libraries if isinstance(libraries, dict) else {},
        files=tuple(_looked_at(folder, name, digest) for name, digest in manifest["files"].items()),
        written_at=(folder / MANIFEST).stat().st_mtime,
    )


def _looked_at(folder: Path, name: str, digest: Any) -> KeptFile:
    try:
        size = len(_checked(folder, name, digest))
    except ArtifactError as error:
        return KeptFile(name, None, str(digest), str(error))
    return KeptFile(name, size, str(digest), None)


def item_hash(item: str) -> str:
    """16 hexadecimal digits that stand for an item's id: an artifact gives away no ids."""
    return hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def load(folder: Path) -> TrainableRouter:
    """The router in `folder`, whichever it is; the class is found by the manifest's name in the registry.

    Raises `ArtifactError` when the folder holds no intact artifact of an installed router of the same version.
    """
    manifest = _manifest(folder)
    name = manifest["router"]
    try:
        cls = registry.find(name)
    except ValueError as error:
        raise ArtifactError(f"{folder / MANIFEST}: {error}; install the package it was trained with") from error
    if not registry.is_trainable(cls):
        raise ArtifactError(f"{folder / MANIFEST}: router {name!r} is not a trainable one; train another")
    router = cls.load(folder)
    if _CARD in manifest["files"]:
        try:
            router.card = Card.parse(_parse(folder / _CARD, _checked(folder, _CARD, manifest["files"][_CARD])))
        except ValueError as error:
            raise ArtifactError(f"{folder / _CARD}: {error}; train the router again") from error
    return router


def write(
    folder: Path,
    router: TrainableRouter,
    *,
    params: Mapping[str, Any],
    trained_on: TrainedOn,
    arrays: Mapping[str, NDArray[Any]],
    documents: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write an artifact of `router`, its card included, so that `folder` holds either all of it or nothing.

    `arrays`: numbers by name, no objects; `documents`: JSON values by name. Raises `ArtifactError` when `folder`
    is there and not empty, unless it holds an artifact and `overwrite` is set, or when it cannot be written.
    """
    _refuse_what_is_there(folder, overwrite=overwrite)
    contents = {f"{name}.json": _json(value) for name, value in (documents or {}).items()}
    contents |= {_ARRAYS: _npz(arrays), _ITEMS: _json(trained_on.items)}
    if router.card is not None:
        contents[_CARD] = _json(router.card.as_json())
    manifest = {
        "format": FORMAT,
        "router": router.name,
        "router_version": router.version,
        "params": dict(params),
        "trained_on": {
            "suite": trained_on.suite,
            "outcomes_sha256": trained_on.outcomes,
            "n_items": len(trained_on.items),
            "models": list(trained_on.models),
        },
        "libraries": _libraries(),
        "files": {name: hashlib.sha256(raw).hexdigest() for name, raw in sorted(contents.items())},
    }
    try:
        replace_folder(folder, contents | {MANIFEST: _json(manifest)})
    except OSError as error:
        reason = error.strerror or error
        raise ArtifactError(f"{folder} cannot be written: {reason}; choose another folder") from error


def read(folder: Path, router: type[Router]) -> Artifact:
    """Read and check an artifact of `router`; raises `ArtifactError` for whatever is wrong with it."""
    manifest = _manifest(folder)
    where = folder / MANIFEST
    if manifest["router"] != router.name:
        raise ArtifactError(f"{where} is of router {manifest['router']!r}, not {router.name!r}; give it to that one")
    if manifest["router_version"] != router.version:
        raise ArtifactError(
            f"{where} is of version {manifest['router_version']!r} of router {router.name!r}, this is version "
            f"{router.version!r}; train it again"
        )
    contents = {name: _checked(folder, name, digest) for name, digest in manifest["files"].items()}
    documents = {
        name.removesuffix(".json"): _parse(folder / name, raw)
        for name, raw in contents.items()
        if name.endswith(".json")
    }
    if _ARRAYS not in contents or _ITEMS not in contents:
        raise ArtifactError(f"{where} does not list {_ARRAYS} and {_ITEMS}; train the router again")
    origin = manifest["trained_on"]
    seen = Artifact(folder, {}, TrainedOn("", "", (), ()), {}, documents).texts("items")
    return Artifact(
        folder=folder,
        params=manifest["params"],
        trained_on=TrainedOn(origin["suite"], origin["outcomes_sha256"], tuple(origin["models"]), seen),
        arrays=_arrays(folder / _ARRAYS, contents[_ARRAYS]),
        documents=documents,
    )


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest with every field this module reads, of the right type."""
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}; give an artifact's folder") from error
    manifest = _parse(path, raw)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ArtifactError(f"{path} has format {found!r}, expected {FORMAT}; train the router again")
    origin = manifest.get("trained_on")
    origin = origin if isinstance(origin, dict) else {}
    fields = (
        (manifest, "router", str),
        (manifest, "router_version", str),
        (manifest, "params", dict),
        (manifest, "files", dict),
        (origin, "suite", str),
        (origin, "outcomes_sha256", str),
        (origin, "models", list),
    )
    for owner, name, kind in fields:
        if not isinstance(owner.get(name), kind):
            raise ArtifactError(f"{path} lacks a proper {name!r}; train the router again")
    return manifest


def _checked(folder: Path, name: str, digest: Any) -> bytes:
    path = folder / name
    if Path(name).name != name:
        raise ArtifactError(f"{folder / MANIFEST} lists {name!r}, which is not in the folder; do not use it")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}; copy the whole folder again") from error
    if hashlib.sha256(raw).hexdigest() != digest:
        raise ArtifactError(f"{path} does not match the hash in {MANIFEST}; copy the whole folder again")
    return raw


def _parse(path: Path, raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not JSON: {error}; copy the whole folder again") from error


def _arrays(path: Path, raw: bytes) -> dict[str, NDArray[Any]]:
    import numpy as np

    try:
        loaded = np.load(io.BytesIO(raw), allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it is no archive of arrays")
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{path} holds no plain arrays: {reason}; train the router again") from error


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an `.npz` file that depend on the arrays alone: no clock, no platform, no compression library."""
    import numpy as np

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _libraries() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = installed_version(name)
        except PackageNotFoundError:
            continue
    return versions


def _refuse_what_is_there(folder: Path, *, overwrite: bool) -> None:
    if folder.is_dir():
        held = {path.name for path in folder.iterdir()}
        if MANIFEST in held and not overwrite:
            raise ArtifactError(f"{folder} holds an artifact already; choose another folder or allow to overwrite")
        if held and MANIFEST not in held:
            raise ArtifactError(f"{folder} holds other files; choose another folder")
    elif folder.exists() or folder.is_symlink():
        raise ArtifactError(f"{folder} is not a folder; choose another name")


def replace_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write beside, then rename: a crash leaves the old folder or the new one, and at worst a stray hidden one."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    stale = fresh.with_suffix(".old")
    try:
        fresh.mkdir()
        for name, raw in contents.items():
            with (fresh / name).open("xb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.rename(stale)
        try:
            fresh.rename(folder)
        except OSError:
            if stale.exists():
                stale.rename(folder)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(stale, ignore_errors=True)
