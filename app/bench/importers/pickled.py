"""A pandas DataFrame out of its pickle, without pandas and without running anything.

A pickle is a program: it names functions and says what to call them with. Here every name is answered with an inert
stand-in that only notes its arguments, so nothing the file names is imported, called or constructed; the tree of notes
is then read as far as a table needs. Names that no DataFrame of pandas 1 or 2 needs are refused all the same, before
anything else is looked at: such a file is not what it claims to be. numpy's own types have stand-ins too, since a
forged dtype can make numpy take bytes for pointers.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from app.bench.importers.complaints import fail, one_line
from app.core.errors import ConfigError

_NUMPY = ("numpy.core", "numpy._core")  # before and since numpy 2
ADMITTED = frozenset(
    {
        "pandas.core.frame.DataFrame",
        "pandas.core.internals.managers.BlockManager",
        "pandas._libs.internals._unpickle_block",
        "pandas.core.indexes.base._new_Index",
        "pandas.core.indexes.base.Index",
        "pandas.core.indexes.range.RangeIndex",
        "pandas.core.indexes.numeric.Int64Index",
        # Columns of these kinds are skipped, but they need not keep the others from being read.
        "pandas.core.arrays.categorical.Categorical",
        "pandas.core.arrays.datetimes.DatetimeArray",
        "pandas.core.dtypes.dtypes.CategoricalDtype",
        "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
        "numpy.ndarray",
        "numpy.dtype",
        *(f"{base}.multiarray._reconstruct" for base in _NUMPY),
        *(f"{base}.multiarray.scalar" for base in _NUMPY),
        *(f"{base}.numeric._frombuffer" for base in _NUMPY),
        "builtins.slice",
        "__builtin__.slice",
        "builtins.bytearray",
        "__builtin__.bytearray",
        "_codecs.encode",
    }
)
"""The only names a pickle may hold."""
COLUMNS = 10_000
"""Most columns of a frame; RouterBench's have 37."""
_PLAIN = re.compile(r"(?:[biu][1248]|f[248])")
"""Codes of dtypes whose bytes are numbers and nothing else."""
_OTHER_FRAMES = re.compile(
    r"pandas\.(?:\w*Index|\w*Dtype|DataFrame|arrays\.\w+|core\.(?:arrays|dtypes|indexes)\.[\w.]+)"
)
"""What frames hold that are not read here."""
_OBJECT = re.compile(r"O[48]?")


@dataclass(frozen=True)
class Frame:
    """The columns of a DataFrame of n rows."""

    rows: int
    """n."""
    columns: dict[str, NDArray[Any] | None]
    """By label, in order, each of shape (n,): numbers, or objects (texts, None, numbers, lists). None where a column
    is of a kind that is not read (dates, categories)."""


class _Note:
    """What a pickle asks to be made: by which name, from what. It is never made."""

    __slots__ = ("args", "state")
    name: ClassVar[str] = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> _Note:
        note = object.__new__(cls)
        note.args, note.state = args, None
        return note

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Refused(Exception):
    """The pickle names what no table needs."""


class _Unreadable(ValueError):
    """The notes do not add up to a table; the message says what is amiss."""


class _Reader(pickle.Unpickler):
    """Makes notes of a pickle. Every opcode that names something comes through `find_class`."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        # Fresh for every file: whatever a pickle does to a stand-in ends with it.
        self._kinds: dict[str, type[_Note]] = {}

    def find_class(self, module: str, name: str) -> type[_Note]:
        full = f"{module}.{name}"
        if full not in ADMITTED:
            raise _Refused(full)
        if full not in self._kinds:
            self._kinds[full] = type("_Kind", (_Note,), {"__slots__": (), "name": full})
        return self._kinds[full]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"persistent object {str(pid)[:40]!r}")


def read_frame(path: Path) -> Frame:
    """The DataFrame that `to_pickle` of pandas 1 or 2 wrote to `path`, protocols 2 to 5.

    Raises `ConfigError` where the file names anything that a table does not need (nothing has been run then), is no
    pickle, or holds no such frame.
    """
    try:
        with path.open("rb") as file:
            top = _Reader(file).load()
        return _frame(top)
    except _Refused as error:
        _refuse(path, str(error))
    except OSError as error:
        fail(path, f"cannot be read ({error.strerror}): pass the path of a pickled DataFrame")
    except _Unreadable as error:
        fail(path, f"is not a DataFrame as pandas 1 or 2 pickle it ({error}): write it as CSV or Parquet")
    except ConfigError:
        raise
    except Exception as error:  # a broken or hostile pickle may fail in any way there is
        fail(path, f"is not a pickle that can be read ({one_line(error)}): fetch or write it again")


def _refuse(path: Path, name: str) -> NoReturn:
    if _OTHER_FRAMES.match(name):
        fail(
            path,
            f"is a pickle that names {name}, as pandas 3 does and frames with columns of its own types: nothing in it "
            "was run; where you trust the file, load it there, write the frame with frame.to_parquet('f.parquet') or "
            "frame.to_csv('f.csv'), and import that",
        )
    fail(path, f"is a pickle that names {name}, which no table needs: refused, nothing in it was run; do not trust it")


def _frame(top: Any) -> Frame:
    if not isinstance(top, _Note) or not top.name.endswith(".DataFrame") or not isinstance(top.state, dict):
        raise _Unreadable(f"it holds {_kind(top)}")
    blocks, axes = _manager(top.state.get("_mgr", top.state.get("_data")))
    if len(axes) != 2:
        raise _Unreadable(f"it has {len(axes)} axes")
    _, kept = _index(axes[0])
    if len(kept) > COLUMNS:
        raise _Unreadable(f"it has {len(kept):,} columns")
    labels = [str(label) for label in kept]
    name, index = _index(axes[1])
    if len(set(labels)) != len(labels):
        raise _Unreadable("two columns have the same label")
    columns: dict[str, NDArray[Any] | None] = dict.fromkeys(labels)
    for values, placement in blocks:
        _place(values, placement, labels, len(index), columns)
    if isinstance(name, str) and name not in columns and not isinstance(index, range):
        # sample_id may have been made the index.
        columns[name] = index
    return Frame(len(index), columns)


def _manager(note: Any) -> tuple[list[tuple[Any, Any]], Sequence[Any]]:
    """The blocks of a frame as (values, places), and its two axes."""
    if not isinstance(note, _Note) or not note.name.endswith(".BlockManager"):
        raise _Unreadable(f"its data is {_kind(note)}")
    if len(note.args) == 2:
        blocks = [_arguments(block, "_unpickle_block", 3) for block in _sequence(note.args[0])]
        return [(values, placement) for values, placement, _ in blocks], _sequence(note.args[1])
    # pandas before 1.3
    state = note.state
    if isinstance(state, tuple) and len(state) >= 4 and isinstance(state[3], dict) and "0.14.1" in state[3]:
        kept = state[3]["0.14.1"]
        return [(block["values"], block["mgr_locs"]) for block in kept["blocks"]], _sequence(kept["axes"])
    raise _Unreadable("its blocks cannot be found")


def _place(values: Any, placement: Any, labels: Sequence[str], n: int, columns: dict[str, NDArray[Any] | None]) -> None:
    places = _places(placement, len(labels))
    block = _array(values)
    if block is None:
        return
    if block.shape != (len(places), n):
        raise _Unreadable(f"a block has shape {block.shape} for {len(places)} columns of {n} rows")
    for row, place in enumerate(places):
        columns[labels[place]] = block[row]


def _places(placement: Any, count: int) -> list[int]:
    if isinstance(placement, _Note) and placement.name.endswith(".slice"):
        start, stop, step = placement.args
        places = range(*slice(start, stop, step).indices(count))
    else:
        array = _array(placement)
        if array is None or array.dtype.kind not in "iu" or array.ndim != 1:
            raise _Unreadable("the places of a block cannot be read")
        places = array.tolist()
    if any(not 0 <= place < count for place in places):
        raise _Unreadable("a block lies outside the columns")
    return list(places)


def _index(note: Any) -> tuple[Any, NDArray[Any] | range]:
    """Name and labels of one axis."""
    kind, content = _arguments(note, "_new_Index", 2)
    if not isinstance(content, dict):
        raise _Unreadable("an axis cannot be read")
    if isinstance(kind, type) and issubclass(kind, _Note) and kind.name.endswith(".RangeIndex"):
        return content.get("name"), range(content["start"], content["stop"], content["step"])
    labels = _array(content.get("data"))
    if labels is None or labels.ndim != 1:
        raise _Unreadable("an axis is of a kind that is not read")
    return content.get("name"), labels


def _array(note: Any) -> NDArray[Any] | None:
    """The array a note stands for; None where it is of a kind that is not read."""
    if not isinstance(note, _Note):
        raise _Unreadable(f"there is {_kind(note)} in the place of an array")
    if note.name.endswith("._frombuffer"):
        raw, dtype, shape, order, *axes = note.args
        return _shaped(_bytes(raw), dtype, shape, order, axes[0] if axes else None)
    if note.name.endswith("._reconstruct"):
        if not isinstance(note.state, tuple) or len(note.state) != 5:
            raise _Unreadable("an array lacks its content")
        _, shape, dtype, by_columns, raw = note.state
        return _shaped(raw if isinstance(raw, list) else _bytes(raw), dtype, shape, "F" if by_columns else "C", None)
    return None


def _shaped(raw: bytes | list[Any], dtype: Any, shape: Any, order: Any, axes: Any) -> NDArray[Any] | None:
    if not isinstance(shape, tuple) or any(not isinstance(length, int) or length < 0 for length in shape):
        raise _Unreadable(f"an array has shape {shape!r}")
    code = _code(dtype)
    if code is None:
        return None
    if code == "O":
        if not isinstance(raw, list):
            raise _Unreadable("an array of objects is kept as bytes")
        flat = np.fromiter(map(_value, raw), dtype=np.object_, count=len(raw))
    elif isinstance(raw, list):
        raise _Unreadable("an array of numbers is kept as a list")
    else:
        flat = np.frombuffer(raw, dtype=np.dtype(code))
    if math.prod(shape) != flat.size:
        raise _Unreadable(f"an array of shape {shape} has {flat.size} entries")
    if order == "K" and isinstance(axes, tuple):
        return flat.reshape(shape).transpose(axes)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _code(note: Any) -> str | None:
    """numpy's code of a dtype with its byte order; `O` for objects; None for what is not read."""
    if not isinstance(note, _Note) or note.name != "numpy.dtype" or not note.args:
        raise _Unreadable("an array lacks its dtype")
    code = note.args[0]
    if not isinstance(code, str):
        return None
    if _OBJECT.fullmatch(code):
        return "O"
    if not _PLAIN.fullmatch(code):
        return None
    order = note.state[1] if isinstance(note.state, tuple) and len(note.state) > 1 else "|"
    return (order if order in ("<", ">") else "") + code


def _bytes(raw: Any) -> bytes:
    """Bytes as any protocol keeps them: the second has only text, encoded as Latin-1."""
    if isinstance(raw, _Note) and raw.name == "_codecs.encode":
        text, encoding = raw.args
        if isinstance(text, str) and encoding == "latin1":
            return text.encode("latin-1")
    if isinstance(raw, _Note) and raw.name.endswith(".bytearray") and raw.args:
        return _bytes(raw.args[0])
    if isinstance(raw, bytes | bytearray):
        return bytes(raw)
    raise _Unreadable(f"there is {_kind(raw)} in the place of bytes")


def _value(value: Any) -> Any:
    """An entry of an array of objects: numpy's single numbers as Python's, all else as it is."""
    if isinstance(value, _Note) and value.name.endswith(".scalar") and len(value.args) == 2:
        code = _code(value.args[0])
        if code not in (None, "O"):
            single = np.frombuffer(_bytes(value.args[1]), dtype=np.dtype(code))
            if single.size == 1:
                return single[0].item()
    return value


def _arguments(note: Any, name: str, count: int) -> tuple[Any, ...]:
    if not isinstance(note, _Note) or not note.name.endswith(f".{name}") or len(note.args) != count:
        raise _Unreadable(f"there is {_kind(note)} in the place of {name}")
    return note.args


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise _Unreadable(f"there is {_kind(value)} in the place of a list")
    return value


def _kind(value: Any) -> str:
    return value.name if isinstance(value, _Note) else f"a {type(value).__name__}"
