"""Named networks: what a campaign measures, each as one text from which any process makes it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np

from latcast import spaces
from latcast._files import check_file
from latcast._names import short_repr
from latcast.graph import Graph
from latcast.graph.read._inputs import DEFAULTS, ReadOptions
from latcast.spaces import Archs, SearchSpace

if TYPE_CHECKING:
    from latcast.families import Variant

# What a runtime loads: a graph for one sample, an ONNX model, or an ONNX file.
Model = Graph | bytes | Path


class NetworkSource(ABC):
    """A network by its name.

    Campaign files keep :attr:`text`; worker processes read it and make the same model of it.

    Attributes:
        is_profiled: whether campaigns profile it beside its first run, since its dataset says
            where the time goes.
    """

    is_profiled: ClassVar[bool] = False

    @property
    @abstractmethod
    def name(self) -> str:
        """How datasets and messages call it."""

    @property
    def family(self) -> str:
        """The family of a variant; empty for all others."""
        return ""

    @property
    def asked(self) -> ReadOptions:
        """Shapes of a file's inputs; nothing is asked of all others."""
        return DEFAULTS

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """Return the JSON-able facts from which :func:`parse_source` makes the same source."""

    @abstractmethod
    def model(self, batch: int, seed: int) -> Model:
        """Return the model that a runtime loads.

        Args:
            batch: of an ONNX model's input; a file has its own.
            seed: of an ONNX model's weights; likewise.

        Raises:
            FileNotFoundError: the file is gone.
            ValueError: the file has changed.
        """

    @property
    @final
    def text(self) -> str:
        """JSON, the inverse of :func:`parse_source`."""
        return json.dumps(self.facts())


@dataclass(frozen=True, slots=True)
class ArchSource(NetworkSource):
    """An architecture of a search space.

    Attributes:
        space: name of the space.
        genes: value of every gene.
    """

    space: str
    genes: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.space}({','.join(map(str, self.genes))})"

    def facts(self) -> Mapping[str, Any]:
        return {"space": self.space, "genes": list(self.genes)}

    def model(self, batch: int, seed: int) -> Model:
        space = spaces.space(self.space)
        return space.network(Archs(space, np.array([self.genes], dtype=np.uint8)))


@dataclass(frozen=True, slots=True)
class BlockSource(NetworkSource):
    """A block of a search space, as a network of its own.

    Attributes:
        space: name of the space.
        row: of the space's block table.
    """

    space: str
    row: int

    @property
    def name(self) -> str:
        return f"block {self.row} of {self.space}"

    def facts(self) -> Mapping[str, Any]:
        return {"space": self.space, "block": self.row}

    def model(self, batch: int, seed: int) -> Model:
        return spaces.space(self.space).assemble([self.row])


@dataclass(frozen=True, slots=True)
class VariantSource(NetworkSource):
    """A variant of a published family.

    Attributes:
        variant: of a family.
    """

    variant: Variant

    is_profiled: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return self.variant.text

    @property
    def family(self) -> str:
        return self.variant.family

    def facts(self) -> Mapping[str, Any]:
        return {"variant": self.variant.text}

    def model(self, batch: int, seed: int) -> Model:
        return self.variant.to_onnx(batch, seed)


@dataclass(frozen=True, slots=True)
class OnnxFile(NetworkSource):
    """An ONNX file, or one that is measured as ONNX, as it was when a campaign began.

    Attributes:
        path: absolute.
        sha256: of its bytes; data that it keeps in other files is not part of them.
        called: how datasets call it.
        options: shapes of its inputs, where it leaves them open.
    """

    path: Path
    sha256: str
    called: str
    options: ReadOptions = DEFAULTS

    @classmethod
    def of(cls, path: str | Path, name: str | None = None, options: ReadOptions = DEFAULTS) -> Self:
        """The file as it is now, by default called by its name without the ending.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = Path(path).resolve()
        check_file(path)
        return cls(path, _digest(path), path.stem if name is None else name, options)

    @property
    def name(self) -> str:
        return self.called

    def facts(self) -> Mapping[str, Any]:
        shapes = {name: list(shape) for name, shape in self.options.shapes.items()}
        asked = {"shapes": shapes, "batch_axis": self.options.batch_axis}
        known = {"path": str(self.path), "sha256": self.sha256, "name": self.called}
        return known | {key: value for key, value in asked.items() if value not in (None, {})}

    @property
    def asked(self) -> ReadOptions:
        return self.options

    def check(self) -> None:
        """Make sure that the file is as it was when the campaign began.

        Raises:
            FileNotFoundError: it is gone.
            ValueError: it has changed.
        """
        check_file(self.path)
        if (now := _digest(self.path)) != self.sha256:
            raise ValueError(
                f"{self.path} must stay as it was when the campaign began (SHA-256 "
                f"{self.sha256[:12]}…); it is {now[:12]}… now: start another campaign"
            )

    def model(self, batch: int, seed: int) -> Model:
        self.check()
        if self.path.suffix.lower() == ".onnx":
            return self.path
        from latcast.graph.read import as_onnx  # other formats alone need it

        return as_onnx(self.path, self.options.shapes)


# What can be measured: architectures of a space, or networks of any kind.
Networks = Archs | Sequence["NetworkSource | Variant"]


def as_sources(networks: Networks) -> tuple[NetworkSource, ...]:
    """A source for every network, in their order."""
    if isinstance(networks, Archs):
        name = networks.space.name
        return tuple(ArchSource(name, tuple(genes)) for genes in networks.genes.tolist())
    return tuple(x if isinstance(x, NetworkSource) else VariantSource(x) for x in networks)


def blocks_of(space: SearchSpace, rows: Iterable[int]) -> tuple[BlockSource, ...]:
    """Rows of a space's block table, each as a network of its own."""
    return tuple(BlockSource(space.name, row) for row in rows)


def archs_of(sources: Sequence[NetworkSource]) -> Archs | None:
    """The architectures, if all sources are of one space; else None."""
    archs = [source for source in sources if isinstance(source, ArchSource)]
    names = {source.space for source in archs}
    if len(archs) < len(sources) or len(names) != 1:
        return None
    genes = np.array([source.genes for source in archs], dtype=np.uint8)
    return Archs(spaces.space(names.pop()), genes)


def parse_source(text: str) -> NetworkSource:
    """The source that has this :attr:`NetworkSource.text`.

    Raises:
        ValueError: the text has another form, or names a variant that there is not.
    """
    try:
        match found := json.loads(text):
            case {"space": str(space), "genes": [*genes]} if all(
                isinstance(gene, int) and 0 <= gene <= 255 for gene in genes
            ):
                return ArchSource(space, tuple(genes))
            case {"space": str(space), "block": int(row)}:
                return BlockSource(space, row)
            case {"variant": str(variant)} | {"member": str(variant)}:  # the latter until schema 1
                from latcast.families import Variant

                return VariantSource(Variant.parse(variant))
            case {"path": str(path), "sha256": str(sha256), "name": str(name)}:
                shapes = {x: tuple(shape) for x, shape in found.get("shapes", {}).items()}
                options = ReadOptions(None, shapes, found.get("batch_axis"))
                return OnnxFile(Path(path), sha256, name, options)
    except json.JSONDecodeError:
        pass
    raise ValueError(
        "a network of a campaign must be an architecture, a block, a variant or a file, as JSON; "
        f"got {short_repr(text)}"
    )


def model_bytes(model: bytes | Path) -> int:
    """Size of a model: two that differ by more than their weights hardly ever have the same."""
    return len(model) if isinstance(model, bytes) else model.stat().st_size


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
