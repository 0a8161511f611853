"""The contract of a family, and its variants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from latcast.graph import GraphBuilder, Tensor
from latcast.report.markup import counted

RESOLUTIONS = (96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256)
"""Sides of the images that most families read."""


class Family(ABC):
    """A set of networks that are built by one rule.

    A concrete family names its parameters and builds a network; checks, samples and files
    follow from those and are not overridden. Families are immutable.

    Attributes:
        name: as variants are written.
        title: for people.
        source: the paper.
        parameters: name -> the values that it may take, in the order in which variants are
            written; samples take a value that is listed twice twice as often.
        published: name of a published network -> its parameters.
    """

    name: str
    title: str
    source: str
    parameters: Mapping[str, Sequence[int]]
    published: Mapping[str, Mapping[str, int]] = {}

    @abstractmethod
    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        """Write the network and give its output.

        Args:
            builder: empty.
            parameters: of every name in :attr:`parameters` one of its values.
        """

    def check(self, parameters: Mapping[str, int]) -> dict[str, int]:
        """``parameters`` in the order of :attr:`parameters`.

        Raises:
            ValueError: one is unknown or missing, or its value is none of its choices.
        """
        for name in parameters:
            if name not in self.parameters:
                known = ", ".join(self.parameters)
                raise ValueError(f"{self.name} has no parameter {name!r}; known: {known}")
        for name, choices in self.parameters.items():
            if name not in parameters:
                raise ValueError(f"{self.name} needs a value of {name}: {_shorten(choices)}")
            if parameters[name] not in choices:
                raise ValueError(
                    f"{self.name}: {name} must be one of {_shorten(choices)}; "
                    f"got {parameters[name]}"
                )
        return {name: int(parameters[name]) for name in self.parameters}

    def sample(self, rng: np.random.Generator) -> dict[str, int]:
        """Every parameter drawn uniformly from its choices."""
        return {k: int(v[int(rng.integers(len(v)))]) for k, v in self.parameters.items()}

    def __repr__(self) -> str:
        return f"<family {self.name}: {counted(len(self.parameters), 'parameter')}>"


def _shorten(choices: Sequence[int]) -> str:
    if isinstance(choices, range):
        return f"{choices[0]} … {choices[-1]}"
    return ", ".join(map(str, dict.fromkeys(choices)))
