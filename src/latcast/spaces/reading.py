"""Architectures of a JSON file, as many as there may be: a list is read an item at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from latcast._files import STDIN, input_file
from latcast.graph.read import is_network

from ._base import Archs, SearchSpace

# Characters that are read at a time, and items that are parsed at a time: a dict of Python's takes
# some thirty times the bytes of the genes that it becomes.
_BLOCK, _ITEMS = 1 << 20, 4_096
# Characters that a number may go on with.
_IN_NUMBERS = "0123456789+-.eE"


def read_architectures(path: Path) -> Iterator[Any]:
    """Items of a JSON file in the field's own form: one architecture, or a list of them.

    Args:
        path: the file, or ``-`` for standard input.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no JSON, or no architecture.
    """
    if is_network(path):
        what = "standard input" if str(path) == STDIN else str(path)
        raise ValueError(
            f"{what} must hold an architecture as JSON; it is a network's file, of no search "
            "space: latcast predict and latcast inspect read it"
        )
    with input_file(path, lambda _: ".json") as file:
        try:
            with file.open(encoding="utf-8") as text:
                found = False
                for item in _items(text):
                    found = True
                    yield item
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file} must hold an architecture as JSON; got: {error}") from None
        if not found:
            raise ValueError(f"{file} holds no architecture")


def read_archs(path: Path, space: SearchSpace) -> Archs:
    """The architectures of a JSON file, as those of a space.

    Raises:
        FileNotFoundError, ValueError: as of :func:`read_architectures`, or one is none of the
            space's.
    """
    items = read_architectures(path)
    parts, count = [], 0
    while part := list(islice(items, _ITEMS)):
        parts.append(parse_archs(part, space, count))
        count += len(part)
    return parts[0].concatenate(*parts[1:])


def parse_archs(items: list[Any], space: SearchSpace, before: int = 0) -> Archs:
    """Items in the field's own form as architectures of a space.

    Args:
        items: of the file.
        space: that they are of.
        before: how many items of the file come before them.

    Raises:
        ValueError: an item is none of the space's.
    """
    try:
        return space.parse(items)
    except ValueError as error:
        where = f"of the items from {before} on: " if before else ""
        message = f"{where}{error} (read as {space.name}; --space names another)"
        raise ValueError(message) from error


class _Buffer:
    """Text of a file from where it has been understood on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._block = _BLOCK
        self._decoder = json.JSONDecoder()
        self._text, self._at, self._before = "", 0, 0

    def next(self) -> str:
        """The next character that is no space, which is not yet taken; none at the end."""
        while True:
            while self._at < len(self._text):
                if (found := self._text[self._at]) not in " \t\r\n":
                    return found
                self._at += 1
            if not self._more():
                return ""

    def take(self) -> None:
        """Take that character."""
        self._at += 1

    def value(self) -> Any:
        """The value that begins at it."""
        self._block = _BLOCK
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
                # Else a number may go on: of 0.5 cut after its point, 0 is understood.
                is_whole = end < len(self._text) and self._text[end] not in _IN_NUMBERS
                if is_whole or not self._more():
                    self._at = end
                    return found
            except json.JSONDecodeError as error:
                if not self._more():
                    self.fail(error.msg, error.pos)

    def fail(self, message: str, at: int | None = None) -> None:
        """Raise the error of a character, by default the next one."""
        place = self._before + (self._at if at is None else at)
        raise ValueError(f"{message} at character {place}")

    def _more(self) -> bool:
        """Read on, each time twice as much: a value is decoded anew from its beginning."""
        if not (block := self._file.read(self._block)):
            return False
        self._before += self._at
        self._text, self._at = self._text[self._at :] + block, 0
        self._block *= 2
        return True


def _items(file: TextIO) -> Iterator[Any]:
    """Items of the list that a file holds; what is no list is the only item.

    Raises:
        ValueError: it is no JSON.
    """
    buffer = _Buffer(file)
    if buffer.next() == "[":
        buffer.take()
        more = buffer.next() != "]"
        while more:
            yield buffer.value()
            if more := buffer.next() == ",":
                buffer.take()
                buffer.next()
        if buffer.next() != "]":
            buffer.fail("Expecting ',' delimiter")
        buffer.take()
    else:
        yield buffer.value()
    if buffer.next():
        buffer.fail("Extra data")
