"""Artifacts: the same router comes back, the same bytes go out, and nothing else is believed or run."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from routers import TrainableRouter, artifacts
from routers.artifacts import ArtifactError
from routers.knn import KnnRouter
from routers.length import LengthRouter
from routers.oracle import OracleRouter
from routers.ridge import RidgeRouter
from tests.routers.toy import ask, outcomes, outcomes_once

TRAINABLE = (KnnRouter, RidgeRouter, LengthRouter, OracleRouter)
each = pytest.mark.parametrize("cls", TRAINABLE, ids=lambda cls: cls.name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    KnnRouter.fit(outcomes(60)).save(tmp_path / "knn")
    return tmp_path / "knn"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def put(folder: Path, name: str, raw: bytes) -> None:
    """Replace a file and its hash, as somebody who means harm would."""
    (folder / name).write_bytes(raw)
    manifest = json.loads((folder / "manifest.json").read_text())
    edit_manifest(folder, files=manifest["files"] | {name: hashlib.sha256(raw).hexdigest()})


@each
def test_a_loaded_router_decides_as_the_fitted_one(cls: type[TrainableRouter], tmp_path: Path) -> None:
    table = outcomes(150, missing=0.1)
    fitted = cls.fit(table, seed=5)
    fitted.save(tmp_path / "it")
    loaded = artifacts.load(tmp_path / "it")

    assert type(loaded) is cls
    for text in (*table.prompts[:40], "add the moon", "", "nothing known"):
        for tradeoff in (0.0, 0.2, 0.7, 1.0):
            query = ask(text, tradeoff=tradeoff)
            assert loaded.route(query) == fitted.route(query)
    loaded.save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "it")


@each
def test_the_manifest_says_what_it_was_trained_on(cls: type[TrainableRouter], tmp_path: Path) -> None:
    cls.fit(outcomes_once()).save(tmp_path / "it")
    manifest = json.loads((tmp_path / "it" / "manifest.json").read_text())

    assert (manifest["format"], manifest["router"], manifest["router_version"]) == (1, cls.name, cls.version)
    assert manifest["params"]["seed"] == 0
    assert manifest["trained_on"] == {
        "suite": "toy",
        "outcomes_sha256": outcomes_once().digest(),
        "n_items": 240,
        "models": list(outcomes_once().models),
    }
    assert manifest["libraries"]["numpy"] == np.__version__
    assert set(manifest["files"]) == set(contents(tmp_path / "it")) - {"manifest.json"}
    trained_on = artifacts.load(tmp_path / "it").trained_on
    assert trained_on.saw("code-0")
    assert not trained_on.saw("code-1")


FIT = """
import sys, pathlib
from routers import registry
from tests.routers.toy import outcomes
for name in ("knn", "ridge", "length", "oracle"):
    registry.find(name).fit(outcomes(150, missing=0.1), seed=3).save(pathlib.Path(sys.argv[1]) / name)
"""


def test_two_fits_give_the_same_bytes_whatever_the_hash_seed_and_threads(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for threads in ("1", "2"):
        environment = {"PYTHONHASHSEED": threads, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", FIT, str(tmp_path / threads)]
        subprocess.run(command, cwd=root, env=environment, check=True, timeout=100)
    for name in ("knn", "ridge", "length", "oracle"):
        assert contents(tmp_path / "1" / name) == contents(tmp_path / "2" / name)


def test_another_seed_is_another_artifact(tmp_path: Path) -> None:
    for seed in (1, 2):
        RidgeRouter.fit(outcomes(60), seed=seed).save(tmp_path / str(seed))
    assert contents(tmp_path / "1") != contents(tmp_path / "2")


@pytest.mark.parametrize("name", ["arrays.npz", "terms.json", "items.json", "wrappers.json"])
def test_a_changed_or_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:])
    with pytest.raises(ArtifactError, match=f"{name} does not match the hash"):
        artifacts.load(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} cannot be read"):
        artifacts.load(folder)


class Mark:
    """Unpickled, it writes a file: the harm that an artifact must not do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "harm"))


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, raw in members.items():
            archive.writestr(f"{name}.npy", raw)
    return buffer.getvalue()


def object_array(path: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Mark(path)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["member", "file", "npy"])
def test_pickled_content_is_refused_and_runs_nothing(folder: Path, tmp_path: Path, form: str) -> None:
    mark = tmp_path / "mark"
    raw = {
        "member": npz(idf=object_array(mark)),
        "file": pickle.dumps(Mark(mark)),
        "npy": object_array(mark),
    }[form]
    put(folder, "arrays.npz", raw)
    with pytest.raises(ArtifactError, match=r"arrays\.npz holds no plain arrays"):
        artifacts.load(folder)
    assert not mark.exists()

    loaded = np.load(folder / "arrays.npz", allow_pickle=True)  # that the mark is live, or this would prove nothing
    if form == "member":
        _ = loaded["idf"]
    assert mark.exists()


@pytest.mark.parametrize(
    "raw",
    [b"", b"PK\x03\x04 broken", b"\x93NUMPY", npz(), npz(idf=b"junk")],
    ids=["empty", "broken zip", "npy", "empty zip", "zip of junk"],
)
def test_broken_arrays_are_refused(folder: Path, raw: bytes) -> None:
    put(folder, "arrays.npz", raw)
    with pytest.raises(ArtifactError, match=r"arrays\.npz"):
        artifacts.load(folder)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("idf", np.ones(3, np.float32), "shape"),
        ("idf", None, "missing"),
        ("quality", np.zeros((6, 4), np.int64), "dtype"),
        ("pool_cost", np.array([np.nan, 1, 1, 1]), "not finite"),
        ("vectors", np.full((60, 60), np.inf, np.float32), "expected|not finite"),
        ("cost", np.full((60, 4), np.nan, np.float32), "different cells"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder: Path, name: str, value: np.ndarray | None, complaint: str) -> None:
    with np.load(folder / "arrays.npz") as loaded:
        arrays = dict(loaded)
    arrays[name] = value
    buffer = io.BytesIO()
    np.savez(buffer, **{key: array for key, array in arrays.items() if array is not None})
    put(folder, "arrays.npz", buffer.getvalue())
    with pytest.raises(ArtifactError, match=complaint):
        artifacts.load(folder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": 2}, "format 2, expected 1"),
        ({"router_version": "0"}, "version '0' of router 'knn', this is version '1'"),
        ({"router": "nobody"}, "no router is named 'nobody'"),
        ({"router": "cheapest"}, "not a trainable"),
        ({"router": "ridge"}, "'weights'|'scaling'|parameter"),
        ({"router": 3}, "lacks a proper 'router'"),
        ({"files": []}, "lacks a proper 'files'"),
        ({"files": {}}, "does not list"),
        ({"files": {"../knn/items.json": "0"}}, "not in the folder"),
        ({"trained_on": None}, "lacks a proper 'suite'"),
        ({"params": {"k": -1}}, "'k' must be at least 1"),
    ],
)
def test_a_wrong_manifest_is_refused(folder: Path, changes: dict[str, object], complaint: str) -> None:
    edit_manifest(folder, **changes)
    with pytest.raises(ArtifactError, match=complaint) as caught:
        artifacts.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(folder: Path, raw: bytes) -> None:
    (folder / "manifest.json").write_bytes(raw)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        artifacts.load(folder)


def test_a_document_of_another_kind_is_refused(folder: Path) -> None:
    put(folder, "terms.json", b'{"a": 1}')
    with pytest.raises(ArtifactError, match=r"terms\.json is not a list of strings"):
        artifacts.load(folder)


def test_another_routers_artifact_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="is of router 'knn', not 'ridge'"):
        RidgeRouter.load(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        artifacts.load(tmp_path / "nowhere")


def test_an_artifact_is_replaced_only_when_told(folder: Path) -> None:
    before, other = contents(folder), RidgeRouter.fit(outcomes(60))
    with pytest.raises(ArtifactError, match="holds an artifact already"):
        other.save(folder)
    assert contents(folder) == before
    other.save(folder, overwrite=True)
    assert artifacts.load(folder).name == "ridge"
    assert [path.name for path in folder.parent.iterdir()] == ["knn"]


def test_other_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    router = LengthRouter.fit(outcomes(30))
    for name in ("mine", "file"):
        with pytest.raises(ArtifactError, match="choose another"):
            router.save(tmp_path / name, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_failed_write_leaves_the_old_artifact_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArtifactError, match="No space left on device; choose another folder"):
        RidgeRouter.fit(outcomes(60)).save(folder, overwrite=True)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["knn"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    LengthRouter.fit(outcomes(30)).save(tmp_path / "empty")
    assert artifacts.load(tmp_path / "empty").name == "length"


def test_an_untrained_length_router_has_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="fit it first"):
        LengthRouter().save(tmp_path / "it")


def test_a_description_says_which_file_is_damaged(folder: Path) -> None:
    whole = artifacts.describe(folder)
    assert (whole.router, whole.suite, whole.n_items) == ("knn", "toy", 60)
    assert whole.params["k"] == 200
    assert "numpy" in whole.libraries
    assert {file.name: file.size for file in whole.files} == {
        name: len(raw) for name, raw in contents(folder).items() if name != "manifest.json"
    }
    assert [file.problem for file in whole.files] == [None] * len(whole.files)
    (folder / "items.json").write_text("[]")
    (folder / "arrays.npz").unlink()
    problems = {file.name: file.problem or "" for file in artifacts.describe(folder).files}
    assert "does not match the hash" in problems["items.json"]
    assert "cannot be read" in problems["arrays.npz"]
    assert problems["terms.json"] == ""
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError, match="format"):
        artifacts.describe(folder)
