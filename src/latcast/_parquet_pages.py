"""How much a Parquet file holds, counted in the headers of its pages before one is unpacked.

A million equal values take three bytes in a page, so that the size of a file tells nothing. Headers
are in Thrift's compact protocol (https://parquet.apache.org/docs/file-format/metadata/).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._files import unpacked_bytes
from ._limits import (
    MAX_COLUMNS,
    MAX_DEPTH,
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    MAX_PAGES,
    MAX_ROWS,
    MAX_VALUES,
    MIN_UNPACKED_TABLE_BYTES,
)

_MAGIC, _TAIL = b"PAR1", 8
# Fields of the metadata of a file, a group of rows, a column in it, and a page, by their numbers.
_GROUPS, _COLUMNS, _ROWS, _COLUMN = 4, 1, 3, 3
_PACKED_BYTES, _DATA, _DICTIONARY = 7, 9, 11
_UNPACKED_BYTES, _PAGE_BYTES = 2, 3
# A page's own header by its version, whose first field counts its values. A dictionary's values are
# no more than its bytes.
_PAGE_HEADERS = (5, 8)


def check_pages(path: Path, content: bytes) -> None:
    """Make sure that a Parquet file holds no more than tables of latcast's do.

    Raises:
        ValueError: it holds more, or its headers are none.
    """
    try:
        sums = _sums(content)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(
            f"{path} must be a whole Parquet file; its headers are damaged: {error}"
        ) from error
    except OverflowError as error:
        raise ValueError(f"{path} must have {error}") from error
    # Texts of graphs are alike, and pack to less than a fiftieth.
    unpacked = min(MAX_FILE_BYTES, max(MIN_UNPACKED_TABLE_BYTES, unpacked_bytes(len(content))))
    limits = (MAX_ROWS, MAX_COLUMNS, MAX_VALUES, unpacked)
    for got, most, what in zip(sums, limits, ("rows", "columns", "values", "bytes"), strict=True):
        if got > most:
            raise ValueError(f"{path} must have at most {most} {what}, unpacked; it has {got}")


def _sums(content: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, values of all columns, and bytes of all pages as they are unpacked."""
    if content[:4] != _MAGIC or content[-4:] != _MAGIC:
        raise ValueError("it begins or ends otherwise")
    length = struct.unpack("<I", content[-_TAIL:-4])[0]
    if length > MAX_HEADER_BYTES:
        raise OverflowError(f"at most {MAX_HEADER_BYTES} bytes of metadata")
    groups = _Thrift(content, len(content) - _TAIL - length).struct().get(_GROUPS, [])
    rows = columns = values = unpacked = pages = 0
    for group in groups:
        rows += group[_ROWS]
        columns = max(columns, len(group[_COLUMNS]))
        for facts in (column[_COLUMN] for column in group[_COLUMNS]):
            at = facts.get(_DICTIONARY, facts[_DATA])
            end = at + facts[_PACKED_BYTES]
            while at < end:
                reader = _Thrift(content, at)
                page = reader.struct()
                own = [page[n][1] for n in _PAGE_HEADERS if n in page]
                values += own[0] if own else 0
                unpacked += page[_UNPACKED_BYTES]
                if min(*own, page[_UNPACKED_BYTES], page[_PAGE_BYTES]) < 0:
                    raise ValueError("a size is negative")
                at, pages = reader.at + page[_PAGE_BYTES], pages + 1
                if pages > MAX_PAGES:
                    raise OverflowError(f"at most {MAX_PAGES} pages")
    return rows, columns, values, unpacked


class _Thrift:
    """A reader of values of Thrift's compact protocol."""

    def __init__(self, content: bytes, at: int) -> None:
        if at < 0:
            raise ValueError("a place is before the beginning")
        self._content, self.at = content, at
        whole = self._integer
        # By the number of a type; 1 and 2 are truth values in the type itself.
        self._readers: dict[int, Callable[[int], Any]] = {
            1: lambda _: True, 2: lambda _: False, 3: lambda _: self._take(1),
            4: whole, 5: whole, 6: whole, 7: lambda _: self._take(8),
            8: lambda _: self._take(self._number()), 9: self._list, 10: self._list,
            11: self._map, 12: self.struct,
        }  # fmt: skip

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Fields by their numbers."""
        if depth > MAX_DEPTH:
            raise OverflowError(f"at most {MAX_DEPTH} levels of metadata")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._readers[head & 15](depth + 1)
        return fields

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._number()
        kind = head & 15
        if count > len(self._content):
            raise ValueError("a list is longer than the file")
        read = self._readers[3 if kind in (1, 2) else kind]
        return [read(depth + 1) for _ in range(count)]

    def _map(self, depth: int) -> None:
        if count := self._number():
            kinds = self._byte()
            for _ in range(min(count, len(self._content))):
                self._readers[kinds >> 4](depth + 1)
                self._readers[kinds & 15](depth + 1)

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:  # else another byte follows
                return value
            if shift > 63:
                raise ValueError("a number is too long")

    def _integer(self, _: int = 0) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)

    def _take(self, count: int) -> None:
        self.at += count
        if self.at > len(self._content):
            raise ValueError("it ends too early")
