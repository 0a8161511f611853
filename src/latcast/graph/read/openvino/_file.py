"""The XML of a model, its layers, and the file of its constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from latcast._limits import MAX_DEPTH, MAX_ELEMENTS_OF_XML
from latcast.graph.shapes import TensorShape

# Element type -> code of ONNX's; ``nf4`` has none, and the width of a 4-bit integer.
TYPES = {
    "f32": 1, "u8": 2, "i8": 3, "u16": 4, "i16": 5, "i32": 6, "i64": 7, "string": 8, "boolean": 9,
    "f16": 10, "f64": 11, "u32": 12, "u64": 13, "bf16": 16, "f8e4m3": 17, "f8e5m2": 19, "u4": 21,
    "i4": 22, "nf4": 22, "f4e2m1": 23, "f8e8m0": 24, "u2": 25,
}  # fmt: skip
# Layers with bodies.
CONTROL = frozenset(("If", "Loop", "TensorIterator"))
# Precision of a port -> code; others are element types in capitals.
_PRECISIONS = {"FP32": 1, "FP16": 10, "BF16": 16, "FP64": 11, "BOOL": 9}


class Element:
    """An element of XML, with the text that is directly in it."""

    # Most elements are sides of shapes, without attributes or children of their own.
    __slots__ = ("attributes", "children", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str] | None = None) -> None:
        self.tag = tag
        self.attributes = attributes or {}
        self.children: list[Element] | None = None
        self.text = ""

    def all(self, *path: str) -> Iterator[Element]:
        """Elements at the end of a path of tags."""
        for child in self.children or ():
            if child.tag == path[0]:
                yield from child.all(*path[1:]) if path[1:] else [child]


def parsed(content: bytes) -> Element:
    """The root of a document.

    A document that declares entities, which can make a small file endless or name other files, is
    refused; IRs declare none.

    Raises:
        ValueError: it is no XML, or too large.
    """
    root = Element("")
    stack, count = [root], 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS_OF_XML or len(stack) > MAX_DEPTH:
            raise ValueError(
                f"an OpenVINO model must have at most {MAX_ELEMENTS_OF_XML} elements, at most "
                f"{MAX_DEPTH} deep in each other"
            )
        element = Element(tag, attributes)
        around = stack[-1]
        if around.children is not None:
            around.children.append(element)
        else:
            around.children = [element]
        stack.append(element)

    def text(content: str) -> None:
        if stack[-1].tag == "dim":
            stack[-1].text += content

    def refuse(*_: object) -> None:
        raise ValueError("an OpenVINO model must have no document type or entities; this one has")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, lambda _: stack.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"an OpenVINO model must be XML: {error}") from error
    assert root.children  # a document has an element
    return root.children[0]


@dataclass(frozen=True, slots=True)
class Weights:
    file: Path | None

    def read(self, offset: int, size: int) -> bytes:
        if self.file is None:
            raise ValueError(
                "the .bin file must be beside the .xml: it holds numbers that shapes depend on"
            )
        # Checked before so much memory is taken, which a file may lie about.
        if not 0 <= offset <= offset + size <= self.file.stat().st_size:
            raise ValueError(f"constants must lie inside of {self.file.name}; one does not")
        with self.file.open("rb") as file:
            file.seek(offset)
            return file.read(size)


@dataclass(slots=True)
class Layer:
    """A layer of the file: its attributes, and shapes (None for open sides) of its ports."""

    id: str
    name: str
    type: str
    data: dict[str, str]
    reads: list[list[int | None]]
    writes: list[tuple[str, list[int | None] | None, int, str]]
    """Of each output its port, shape, type code and the names of its tensor."""
    whole: Element | None = None
    """The layer itself where it has bodies."""

    @classmethod
    def of(cls, element: Element) -> Layer:
        data = next(element.all("data"), Element("data")).attributes
        given = element.attributes
        return cls(
            given["id"], given.get("name", given["id"]), given["type"], data,
            [_dims(port) for port in element.all("input", "port")],
            [
                (p.attributes["id"], _dims(p), _code(p.attributes.get("precision", "")),
                 p.attributes.get("names", ""))
                for p in element.all("output", "port")
            ],
            element if given["type"] in CONTROL else None,
        )  # fmt: skip

    def text(self, key: str, default: str = "") -> str:
        return self.data.get(key, default)

    def flag(self, key: str, default: str = "false") -> bool:
        return self.text(key, default).lower() in {"true", "1"}

    def integers(self, key: str, default: str = "") -> list[int]:
        return [int(x) for x in self.text(key, default).split(",") if x.strip()]

    def float(self, key: str, default: str) -> float:
        return float(self.text(key, default))

    def rank(self, n: int = 0) -> int:
        return len(self.reads[n])

    def shape(self, n: int = 0) -> TensorShape:
        """Shape of an input, which must be known."""
        known = [s for s in self.reads[n] if s is not None]
        if len(known) < len(self.reads[n]):
            raise LookupError("its shape must be known")
        return tuple(known)


def _dims(port: Element) -> list[int | None]:
    sides = [int(x.text) for x in port.all("dim")]
    return [s if s >= 0 else None for s in sides]


def _code(precision: str) -> int:
    return _PRECISIONS.get(precision) or TYPES.get(precision.lower(), 0)
