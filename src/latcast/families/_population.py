"""Variants of families, and seeded samples of all families."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np

from latcast._names import short_repr, unknown_name
from latcast.graph import Graph, GraphBuilder
from latcast.graph.write.onnx import LATEST_OPSET, to_onnx

from ._family import Family
from .convnext import ConvNeXt
from .densenet import DenseNet
from .efficientnet import EfficientNet
from .from_spaces import fbnet, nb201, ofa
from .mixed import Mixed
from .mobilenet import MobileNetV1, MobileNetV2, MobileNetV3
from .resnet import ResNet, ResNetCIFAR
from .squeezenet import SqueezeNet
from .vgg import VGG
from .vit import ViT

MIN_MACS, MAX_MACS = 2e6, 1.6e9
MAX_PARAMS = 30e6
# Variants of a population lie in between: a pass takes a core 0.3 to 60 ms.
MAX_ELEMENTS = 25e6

_CANDIDATES = 6
# Draws after which a family is taken to have no more variants within the limits.
_TRIES = 1000


@cache
def families() -> dict[str, Family]:
    """Name -> family."""
    found: list[Family] = [
        ofa(),
        nb201(),
        fbnet(),
        ResNet(),
        ResNetCIFAR(),
        MobileNetV1(),
        MobileNetV2(),
        MobileNetV3(),
        EfficientNet(),
        ConvNeXt(),
        VGG(),
        SqueezeNet(),
        DenseNet(),
        ViT(),
        Mixed(),
    ]
    return {f.name: f for f in found}


@dataclass(frozen=True, slots=True)
class Variant:
    """One network of a family.

    Attributes:
        family: its name.
        parameters: a value of each of the family's parameters, in its order.

    Raises:
        ValueError: there is no such family, or a parameter is unknown, missing or no choice.
    """

    family: str
    parameters: Mapping[str, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", family(self.family).check(self.parameters))

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """Such as ``vgg(depth1=2,…,classes=1000)``; the inverse of :meth:`parse`."""
        return f"{self.family}({','.join(f'{k}={v}' for k, v in self.parameters.items())})"

    @classmethod
    def parse(cls, text: str) -> Variant:
        """The variant that ``text`` describes, or the published network that it names.

        Raises:
            ValueError: the text has another form, or names what there is not.
        """
        match = re.fullmatch(r"([\w.-]+)\((.*)\)", text.strip())
        if match is None:
            known = {name: f for f in families().values() for name in f.published}
            if text.strip() in known:
                found = known[text.strip()]
                return cls(found.name, found.published[text.strip()])
            if re.fullmatch(r"[\w.-]+", text.strip()):
                raise ValueError(unknown_name("published network", text.strip(), list(known)))
            raise ValueError(
                "a variant must be written as FAMILY(NAME=VALUE,…) or be the name of a published "
                f"network; got {short_repr(text)}"
            )
        values: dict[str, int] = {}
        for item in match[2].split(",") if match[2] else []:
            name, _, value = (part.strip() for part in item.partition("="))
            if name in values or not re.fullmatch(r"\d{1,18}", value, re.ASCII):
                raise ValueError(
                    f"parameters must be written once each as NAME=VALUE with a whole number; "
                    f"got {short_repr(item)} in {short_repr(text)}"
                )
            values[name] = int(value)
        return cls(match[1], values)

    def to_onnx(self, batch: int = 1, seed: int = 0) -> bytes:
        """The network as a serialized ONNX model, the same for the same arguments.

        Args:
            batch: of its input.
            seed: of its weights.
        """
        graph = self.graph(batch)
        return to_onnx(graph, graph.drawn(seed), opset=LATEST_OPSET)

    def graph(self, batch: int = 1) -> Graph:
        """The network for inputs of ``batch`` samples."""
        builder = GraphBuilder(batch, self.text)
        return builder.build(family(self.family).build(builder, self.parameters))


def family_names() -> list[str]:
    """Names of all families."""
    return list(families())


def family(name: str) -> Family:
    """The family called ``name``.

    Raises:
        ValueError: there is none; the message suggests the nearest and lists all.
    """
    try:
        return families()[name]
    except KeyError:
        raise ValueError(unknown_name("family", name, family_names())) from None


def population(n: int, seed: int = 0, families: Sequence[str] | None = None) -> list[Variant]:
    """``n`` distinct variants, of every family in turn.

    Their multiply-accumulates are spread over orders of magnitude rather than drawn with the
    parameters, of which most combinations are large. A family's variants do not depend on which
    other families there are.

    Args:
        n: how many.
        seed: of the sample.
        families: names of those to draw from; all by default.

    Raises:
        ValueError: ``n`` is negative, a family is unknown or has too few variants.
    """
    if n < 0:
        raise ValueError(f"the number of variants must be at least 0; got {n}")
    drawn = [family(name) for name in (family_names() if families is None else families)]
    if n and not drawn:
        raise ValueError("a population needs at least one family; got none")
    counts = [n // len(drawn) + (i < n % len(drawn)) for i in range(len(drawn))] if drawn else []
    columns = [_draw(f, count, seed) for f, count in zip(drawn, counts, strict=True)]
    return [c[i] for i in range(max(counts, default=0)) for c in columns if i < len(c)]


def _draw(source: Family, n: int, seed: int) -> list[Variant]:
    # By the family's name, and not by Python's hash, which differs from process to process.
    rng = np.random.default_rng([seed, crc32(source.name.encode())])
    variants: dict[Variant, None] = {}
    for _ in range(_TRIES + n):
        if len(variants) == n:
            break
        # Of a few candidates the nearest to a size that was drawn: parameters drawn evenly give
        # large networks nearly always.
        goal = rng.uniform(np.log(MIN_MACS), np.log(MAX_MACS))
        found = [x for _ in range(_CANDIDATES) if (x := _candidate(source, rng))]
        if found:
            _, parameters = min(found, key=lambda x: abs(np.log(x[0]) - goal))
            variants.setdefault(Variant(source.name, parameters))
    if len(variants) < n:
        raise ValueError(
            f"family {source.name} must have {n} variants within the limits of a population; "
            f"found {len(variants)}: ask for fewer"
        )
    return list(variants)


def _candidate(source: Family, rng: np.random.Generator) -> tuple[int, dict[str, int]] | None:
    """MACs and parameters of a variant drawn at random; None if it is out of the limits."""
    parameters = source.sample(rng)
    # Limits are checked on the graph that is built: no formula could go out of step with it.
    builder = GraphBuilder()
    graph = builder.build(source.build(builder, parameters))
    within = (
        MIN_MACS <= graph.macs <= MAX_MACS
        and graph.params + builder.folded_params <= MAX_PARAMS
        and sum(x.write_bytes // x.element_bytes for x in graph.layers) <= MAX_ELEMENTS
    )
    return (graph.macs, parameters) if within else None
