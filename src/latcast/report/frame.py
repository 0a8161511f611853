"""Rows for the libraries of others: Arrow's, and what takes Arrow's tables, such as DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latcast._imports import require

if TYPE_CHECKING:
    import polars as pl


class Tabular:
    """The mixin of records and datasets that are frames of polars, and so tables of Arrow, too.

    A subclass implements :meth:`to_polars`.
    """

    def to_polars(self) -> pl.DataFrame:
        """Return the rows as a frame of polars."""
        raise NotImplementedError

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``.

        Raises:
            ModuleNotFoundError: pandas, or pyarrow that it is made through, is not installed.
        """
        for package in ("pandas", "pyarrow"):
            require(package, "pandas", "a frame of pandas")
        return self.to_polars().to_pandas()

    def to_arrow(self) -> Any:
        """Return the rows as a ``pyarrow.Table``.

        Raises:
            ModuleNotFoundError: pyarrow is not installed.
        """
        require("pyarrow", "pandas", "an Arrow table")
        return self.to_polars().to_arrow()

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """Return the rows by Arrow's PyCapsule interface, for ``pl.DataFrame(x)`` and others."""
        return self.to_polars().__arrow_c_stream__(requested_schema)
