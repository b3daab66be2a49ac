"""Pickled DataFrames: read as they are, without pandas, and never run."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from app.bench.importers.pickled import Frame, read_frame
from app.core.errors import ConfigError
from tests.bench.pickles.make import COLUMNS, FOLDER

READ = sorted(path for path in FOLDER.glob("pandas-[12].*.pkl"))


def expected(path: Path) -> dict[str, list[Any]]:
    rows = [0, 1, 2]
    if path.stem.endswith("filtered"):
        rows = [0, 2]
    if path.stem.endswith("reversed"):
        rows = [2, 1, 0]
    return {name: [values[row] for row in rows] for name, values in COLUMNS.items()}


def listed(frame: Frame) -> dict[str, list[Any]]:
    return {name: values.tolist() for name, values in frame.columns.items() if values is not None}


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_frames_of_pandas_1_and_2_are_read_to_the_bit(path: Path) -> None:
    wanted, frame = expected(path), read_frame(path)
    found = listed(frame)
    assert frame.rows == len(wanted["sample_id"])
    assert {name: found[name] for name in wanted} == wanted


def test_there_are_pickles_of_both_lines_and_all_protocols() -> None:
    names = {path.stem for path in READ}
    assert {"pandas-1.5.3", "pandas-2.0.3", "pandas-2.2.3"} <= names
    assert {"pandas-1.5.3-protocol-2", "pandas-2.2.3-protocol-2", "pandas-2.2.3-protocol-4"} <= names


def test_columns_of_other_kinds_do_not_hinder_the_rest() -> None:
    frame = read_frame(FOLDER / "pandas-2.2.3-mixed.pkl")
    assert listed(frame)["year"] == [1, 2, 3]
    assert frame.columns["day"] is None
    assert frame.columns["kind"] is None


def test_a_pandas_3_frame_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"names pandas\.DataFrame, as pandas 3 does.* frame\.to_parquet"):
        read_frame(FOLDER / "pandas-3.0.0.pkl")


def test_whatever_pandas_is_installed_its_frames_are_read_or_refused(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed; the pickles kept beside the tests are read")
    path = tmp_path / "frame.pkl"
    pandas.DataFrame(COLUMNS).to_pickle(path)
    if int(pandas.__version__.split(".")[0]) > 2:
        with pytest.raises(ConfigError, match="as pandas 3 does"):
            read_frame(path)
    else:
        assert listed(read_frame(path)) == COLUMNS


# Frames without pandas: classes of the same names, as far as pickle looks.


@pytest.fixture
def forged(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Makes a class that pickles under a dotted name, whatever that name is worth."""

    @cache
    def make(full: str) -> Any:
        module, _, name = full.rpartition(".")
        made = type(name, (), {"__module__": module, "__qualname__": name})
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            parent = ".".join(parts[:depth])
            if parent not in sys.modules:
                monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
        monkeypatch.setattr(sys.modules[module], name, made, raising=False)
        return made

    return make


class Call:
    """Pickles as a call of `what` with `args`, then a state."""

    def __init__(self, what: Any, *args: Any, state: Any = None) -> None:
        self.what, self.args, self.state = what, args, state

    def __reduce__(self) -> Any:
        return (self.what, self.args) if self.state is None else (self.what, self.args, self.state)


def frame_of(forged: Callable[[str], Any], columns: dict[str, np.ndarray], *, old: bool = False) -> Any:
    """A DataFrame as pandas pickles one, of blocks with one column each; `old`: as pandas before 1.3 did."""
    new_index, index = forged("pandas.core.indexes.base._new_Index"), forged("pandas.core.indexes.base.Index")
    rows = len(next(iter(columns.values())))
    axes = [
        Call(new_index, index, {"data": np.array(list(columns), dtype=object), "name": None}),
        Call(
            new_index,
            forged("pandas.core.indexes.range.RangeIndex"),
            {"name": None, "start": 0, "stop": rows, "step": 1},
        ),
    ]
    manager = forged("pandas.core.internals.managers.BlockManager")
    blocks = [(values.reshape(1, -1), slice(place, place + 1, 1)) for place, values in enumerate(columns.values())]
    if old:
        kept = {"axes": axes, "blocks": [{"values": values, "mgr_locs": places} for values, places in blocks]}
        data = Call(manager, state=([], [], [], {"0.14.1": kept}))
        attributes = {"_data": data, "_typ": "dataframe", "_metadata": []}
    else:
        unpickle = forged("pandas._libs.internals._unpickle_block")
        data = Call(manager, tuple(Call(unpickle, values, places, 2) for values, places in blocks), axes)
        attributes = {"_mgr": data, "_typ": "dataframe", "_metadata": [], "attrs": {}}
    return Call(forged("pandas.core.frame.DataFrame"), state=attributes)


def pickled(folder: Path, value: Any, protocol: int = 4) -> Path:
    path = folder / "frame.pkl"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("old", [False, True])
def test_the_layouts_before_and_since_pandas_1_3_are_read(
    tmp_path: Path, forged: Callable[[str], Any], old: bool
) -> None:
    cells = np.empty(3, dtype=object)
    cells[:] = [np.float64(0.25), None, ["one", "two"]]
    columns = {"a": np.array([0.1, 0.2, 0.3]), "b": np.array([True, False, True]), "c": cells}
    frame = read_frame(pickled(tmp_path, frame_of(forged, columns, old=old)))
    assert listed(frame) == {"a": [0.1, 0.2, 0.3], "b": [True, False, True], "c": [0.25, None, ["one", "two"]]}


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_of_anything_else_is_refused_and_not_made(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "proof"
    path = pickled(tmp_path, Call(os.system, f"touch {proof}"), protocol)
    with pytest.raises(ConfigError, match=r"names posix\.system, which no table needs: refused, nothing in it was run"):
        read_frame(path)
    assert not proof.exists()


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("old", [False, True])
def test_a_call_in_a_cell_of_a_frame_is_refused_and_not_made(
    tmp_path: Path, forged: Callable[[str], Any], protocol: int, old: bool
) -> None:
    proof = tmp_path / "proof"
    cells = np.array(["harmless", None], dtype=object)
    cells[1] = Call(eval, f"open({str(proof)!r}, 'w')")
    path = pickled(tmp_path, frame_of(forged, {"prompt": cells}, old=old), protocol)
    with pytest.raises(ConfigError, match=r"names (__builtin__|builtins)\.eval, which no table needs"):
        read_frame(path)
    assert not proof.exists()


def gadgets(proof: Path) -> dict[str, bytes]:
    """Programs for pickle's machine that run something by other opcodes, or by way of names that look right."""
    code = f"open({str(proof)!r}, 'w')".encode()
    short = lambda text: b"\x8c" + bytes([len(text)]) + text  # noqa: E731
    named = lambda module, name: short(module) + short(name) + b"\x93"  # noqa: E731
    call = lambda module, name: b"\x80\x04" + named(module, name) + short(code) + b"\x85R."  # noqa: E731
    return {
        "GLOBAL": b"c__builtin__\neval\n(V" + code + b"\ntR.",
        "INST": b"(V" + code + b"\ni__builtin__\neval\n.",
        "OBJ": b"(c__builtin__\neval\nV" + code + b"\no.",
        "NEWOBJ": b"\x80\x04" + named(b"subprocess", b"Popen") + short(b"true") + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + named(b"subprocess", b"Popen") + short(b"true") + b"\x85}\x92.",
        "STACK_GLOBAL": call(b"builtins", b"exec"),
        "dotted": call(b"numpy", b"ndarray.__class__.__subclasses__"),
        "through a module": call(b"numpy.core.multiarray", b"_reconstruct.__globals__"),
        "numpy's runner": call(b"numpy.testing._private.utils", b"runstring"),
        "numpy's loader": call(b"numpy", b"load"),
        "pandas' evaluator": call(b"pandas", b"eval"),
        "pandas' reader": call(b"pandas.io.pickle", b"read_pickle"),
        "getattr": call(b"builtins", b"getattr"),
        "import": call(b"builtins", b"__import__"),
        "partial": call(b"functools", b"partial"),
        "codecs": call(b"_codecs", b"lookup"),
        "persistent": b"Psomething\n.",
        "BINPERSID": b"\x80\x04" + short(b"something") + b"Q.",
    }


@pytest.mark.parametrize("name", sorted(gadgets(Path("proof"))))
def test_gadgets_are_refused_and_not_run(tmp_path: Path, name: str) -> None:
    proof = tmp_path / "proof"
    with pytest.raises(ConfigError, match=r"which no table needs: refused, nothing in it was run") as caught:
        read_frame(pickled(tmp_path, gadgets(proof)[name]))
    assert "\n" not in caught.value.message
    assert not proof.exists()


def test_admitted_names_are_not_called_either(tmp_path: Path, forged: Callable[[str], Any]) -> None:
    # Called for real, bytearray would take a gigabyte here, and the state would be set on numpy's own type.
    huge = pickled(tmp_path, Call(bytearray, 1 << 60))
    with pytest.raises(ConfigError, match=r"it holds (__builtin__|builtins)\.bytearray"):
        read_frame(huge)
    on_the_class = b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93}\x8c\x04name\x8c\x04evilsb."
    with pytest.raises(ConfigError, match="is not a pickle that can be read"):
        read_frame(pickled(tmp_path, on_the_class))


def test_objects_cannot_be_forged_from_bytes(tmp_path: Path, forged: Callable[[str], Any]) -> None:
    reconstruct = forged("numpy.core.multiarray._reconstruct")
    array = Call(reconstruct, state=(1, (1, 1), np.dtype(object), False, bytes(8)))
    frame = frame_of(forged, {"a": np.array([1.0])})
    frame.state["_mgr"].args[0][0].args = (array, slice(0, 1, 1), 2)
    with pytest.raises(ConfigError, match="an array of objects is kept as bytes"):
        read_frame(pickled(tmp_path, frame))


def test_sizes_that_a_file_only_claims_are_not_believed(tmp_path: Path, forged: Callable[[str], Any]) -> None:
    frame = frame_of(forged, {"a": np.array([1.0])})
    labels = frame.state["_mgr"].args[1][0]
    labels.args = (
        forged("pandas.core.indexes.range.RangeIndex"),
        {"name": None, "start": 0, "stop": 10**15, "step": 1},
    )
    with pytest.raises(ConfigError, match="it has 1,000,000,000,000,000 columns"):
        read_frame(pickled(tmp_path, frame))


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"prompt": ["a"]}, "it holds a dict"),
        ([1, 2], "it holds a list"),
        (b"not a pickle", "is not a pickle that can be read"),
        (b"", "is not a pickle that can be read"),
        (b"\x80\x04\x82\x01.", "is not a pickle that can be read"),
        (b"\x80\x05\x97.", "is not a pickle that can be read"),
    ],
)
def test_what_is_no_frame_is_said_in_one_line(tmp_path: Path, value: Any, line: str) -> None:
    path = pickled(tmp_path, value)
    with pytest.raises(ConfigError) as caught:
        read_frame(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert line in caught.value.message
    assert "\n" not in caught.value.message
    with pytest.raises(ConfigError, match="cannot be read"):
        read_frame(tmp_path / "none.pkl")


def refusal(path: Path) -> str | None:
    """What is said against a file; None where it was read. Anything but a `ConfigError` fails the test."""
    try:
        read_frame(path)
    except ConfigError as error:
        return error.message
    return None


def test_damaged_pickles_are_refused_in_one_line(tmp_path: Path) -> None:
    raw = (FOLDER / "pandas-2.2.3.pkl").read_bytes()
    rng = np.random.default_rng(0)
    damaged = [raw[:length] for length in range(0, len(raw), 7)]
    for _ in range(300):
        changed = bytearray(raw)
        changed[rng.integers(len(raw))] = rng.integers(256)
        damaged.append(bytes(changed))
    refused = [said for data in damaged if (said := refusal(pickled(tmp_path, data)))]
    assert len(refused) > 200
    assert not any("\n" in said for said in refused)
