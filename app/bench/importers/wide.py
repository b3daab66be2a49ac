"""Tables with one row an item and columns for each model, from a CSV, a Parquet file or a pickled DataFrame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.bench.importers.complaints import fail
from app.bench.importers.pickled import Frame, read_frame
from app.bench.importers.tables import numbers, read_wide

PICKLES = (".pkl", ".pickle")
UNNAMED = ("", "Unnamed: 0", "index")
"""What the index of a DataFrame is called once it has become a column."""


class Wide(ABC):
    """A table of n rows."""

    def __init__(self, path: Path, rows: int, names: list[str]) -> None:
        self.path = path
        self.rows = rows
        """n, at least 1."""
        self.names = [name for name in names if name not in UNNAMED and not name.startswith("__index_level_")]
        """Columns in their order, without the index."""
        if rows == 0:
            fail(path, "is empty: it needs one row for each item")

    @abstractmethod
    def texts(self, name: str) -> list[str | None]:
        """A column as texts, length n; None where it is empty. Raises `ConfigError` where it holds anything else."""

    @abstractmethod
    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers, shape (n,); NaN where it is empty. Raises `ConfigError` where it holds text."""

    def required(self, name: str) -> list[str]:
        """A column of texts, none of them missing or empty, length n. Raises `ConfigError`."""
        if name not in self.names:
            fail(self.path, f"column {name!r} is missing (it has {', '.join(self.names)}): rename or add it")
        texts = self.texts(name)
        for row, text in enumerate(texts):
            if not text:
                fail(self.path, f"column {name!r} is empty in row {row}: fill it in")
        return [text for text in texts if text]


class _Arrow(Wide):
    def __init__(self, path: Path) -> None:
        self.table = read_wide(path)
        super().__init__(path, self.table.num_rows, self.table.column_names)

    def texts(self, name: str) -> list[str | None]:
        column = self.table[name]
        if pa.types.is_nested(column.type):
            fail(self.path, f"column {name!r} holds {column.type}, not text: convert it")
        texts: list[str | None] = pc.cast(column, pa.large_string()).to_pylist()
        return texts

    def numbers(self, name: str) -> NDArray[np.float64]:
        return numbers(self.path, self.table[name], name)


class _Pickled(Wide):
    def __init__(self, path: Path) -> None:
        self.frame: Frame = read_frame(path)
        super().__init__(path, self.frame.rows, list(self.frame.columns))

    def texts(self, name: str) -> list[str | None]:
        return [self._text(name, row, value) for row, value in enumerate(self._column(name).tolist())]

    def _text(self, name: str, row: int, value: object) -> str | None:
        if isinstance(value, str):
            return value
        if value is None or value != value:  # NaN is how pandas says that there is no text
            return None
        if isinstance(value, bool | int | float):
            return str(value)
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            fail(self.path, f"column {name!r} holds a {type(value).__name__} in row {row}, not text: convert it")
        return repr(value)

    def numbers(self, name: str) -> NDArray[np.float64]:
        column = self._column(name)
        if column.dtype.kind != "O":
            return column.astype(np.float64)
        return np.array([self._number(name, row, value) for row, value in enumerate(column.tolist())], dtype=np.float64)

    def _number(self, name: str, row: int, value: object) -> float:
        if value is None:
            return np.nan
        if not isinstance(value, bool | int | float):
            fail(self.path, f"column {name!r} holds a {type(value).__name__} in row {row}, not a number: convert it")
        return float(value)

    def _column(self, name: str) -> NDArray[np.object_]:
        column = self.frame.columns[name]
        if column is None:
            fail(self.path, f"column {name!r} is of a kind that is not read (dates, categories): convert it to text")
        return column


def open_wide(path: Path) -> Wide:
    """The table in `path`: a pickled DataFrame by the suffix .pkl or .pickle, CSV by .csv, Parquet else.

    Raises `ConfigError`.
    """
    return _Pickled(path) if path.suffix.lower() in PICKLES else _Arrow(path)
