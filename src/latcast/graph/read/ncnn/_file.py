"""Lines of a ``.param`` file, and the weights of a ``.bin`` file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from latcast.graph.shapes import TensorShape

# ONNX's codes of the types that weights have.
FLOAT, INT8, HALF = 1, 3, 10
# What weights begin with -> their type; another flag begins an index into 256 numbers.
_FLAGS = {0x01306B47: HALF, 0x000D4B38: INT8, 0x0002C056: FLOAT, 0: FLOAT}


@dataclass(frozen=True, slots=True)
class Layer:
    """A line of the file: a layer, its blobs, and its parameters by number."""

    type: str
    name: str
    inputs: list[str]
    outputs: list[str]
    values: dict[int, Any]

    @classmethod
    def of(cls, line: str) -> Layer:
        words = line.split()
        try:
            reads, writes = int(words[2]), int(words[3])
        except (IndexError, ValueError):
            raise ValueError(
                "the ncnn model is malformed: a layer must be a type, a name, how many blobs it "
                f"reads and how many it writes; got {line[:80]!r}"
            ) from None
        if min(reads, writes) < 0 or len(words) < 4 + reads + writes:
            raise ValueError(f"a layer must name all its blobs; got {line[:80]!r}")
        values: dict[int, Any] = {}
        for word in words[4 + reads + writes :]:
            key, _, text = word.partition("=")
            if not _KEY.fullmatch(key):
                continue  # of a layer that the converter could not translate, which has words
            number = int(key)
            if number <= -23300:
                values[-number - 23300] = [_number(x) for x in text.split(",")[1:]]
            else:
                values[number] = text.strip('"') if text.startswith('"') else _number(text)
        blobs = words[4 : 4 + reads + writes]
        return cls(words[0], words[1], blobs[:reads], blobs[reads:], values)

    def integer(self, key: int, default: int = 0) -> int:
        return int(self.values.get(key, default))

    def number(self, key: int, default: float = 0.0) -> float:
        return float(self.values.get(key, default))

    def integers(self, key: int) -> list[int]:
        return [int(x) for x in self.values.get(key, [])]

    def told(self) -> list[TensorShape | None]:
        """Shapes of the outputs where the file is annotated with them: axes, width, height, …."""
        numbers = self.integers(30)
        told: list[TensorShape | None] = []
        for n in range(len(self.outputs)):
            axes, *sides = numbers[4 * n : 4 * n + 4] or [0]
            told.append((1, *sides[:axes][::-1]) if axes and min(sides[:axes]) > 0 else None)
        return told


_KEY = re.compile(r"-?\d{1,9}")
_REAL = re.compile("[.eE]")


def _number(text: str) -> float | int:
    return float(text) if _REAL.search(text) else int(text)


@dataclass
class Weights:
    """The ``.bin`` file: weights one after the other, in the order of the layers."""

    file: Path | None
    offset: int = 0

    def take(self, count: int, *, flagged: bool) -> tuple[int, Callable[[], bytes]]:
        """Type of the next ``count`` numbers, and what reads them."""
        if count < 0:
            raise ValueError(f"weights must be counted from 0; got {count}")
        if self.file is None:
            return FLOAT, missing
        code = FLOAT
        if flagged:
            flag = int.from_bytes(self.read(self.offset, 4), "little")
            self.offset += 4
            if flag not in _FLAGS:
                self.file = None  # an index into 256 numbers: what follows is not looked at
                return FLOAT, missing
            code = _FLAGS[flag]
        start, size = self.offset, count * {FLOAT: 4, HALF: 2, INT8: 1}[code]
        self.offset += -(-size // 4) * 4
        if self.offset > len(self._content):
            raise ValueError(f"{self.file.name} must hold all weights; it ends before them")
        return code, lambda: self.read(start, size)

    def read(self, start: int, size: int) -> bytes:
        return self._content[start : start + size]

    @cached_property
    def _content(self) -> bytes | mmap:
        """The file's bytes, which are read where they are looked at alone."""
        assert self.file is not None
        with self.file.open("rb") as file:
            is_empty = not self.file.stat().st_size
            return b"" if is_empty else mmap(file.fileno(), 0, access=ACCESS_READ)


def missing() -> bytes:
    raise ValueError("weights must be in the .bin file beside the .param file; they are not")
