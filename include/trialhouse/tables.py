"""Any CSV or Parquet file as a data frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trialhouse.errors import TableError

if TYPE_CHECKING:
    import pandas as pd

_READERS = {".csv": "read_csv(?, sample_size = -1)", ".parquet": "read_parquet(?)"}
"""All rows decide a column's type: a word in row 30,000 makes a column of words, not an error about the reader."""


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a file.

    Raises
    ------
    TableError
        If it is no CSV or Parquet file, or cannot be read.
    """
    import duckdb

    if path.suffix not in _READERS:
        raise TableError("table must be a .csv or .parquet file", repr(path.name), "convert it")
    if not path.is_file():
        raise TableError(f"table {path} must be a file", "none of that name", "check the path")
    try:
        with duckdb.connect(":memory:") as connection:
            frame: pd.DataFrame = connection.execute(f"SELECT * FROM {_READERS[path.suffix]}", [str(path)]).df()
            return frame
    except duckdb.Error as error:
        raise TableError(f"table {path} must be readable", str(error).splitlines()[0], "check the file") from error
