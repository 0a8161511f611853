"""Families that are search spaces of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latcast.graph import BUFFER, Constants, GraphBuilder, Tensor
from latcast.spaces import space

from ._family import Family

_ARCHS = range(1_000_000)


class SpaceFamily(Family):
    """Architectures of search spaces.

    ``arch`` is the seed with which one architecture is sampled.

    Args:
        name: of the family.
        title: for people.
        source: the paper.
        variant: name of the parameter that chooses the space.
        spaces: its value -> name of the space.
        resolutions: choices of the resolution, where it is a gene of the spaces.
    """

    def __init__(
        self,
        name: str,
        title: str,
        source: str,
        variant: str,
        spaces: Mapping[int, str],
        resolutions: Sequence[int] = (),
    ) -> None:
        self.name, self.title, self.source = name, title, source
        self._variant, self._spaces = variant, spaces
        sides = {"resolution": resolutions} if resolutions else {}
        self.parameters = {"arch": _ARCHS, variant: tuple(spaces), **sides}

    def build(self, builder: GraphBuilder, parameters: Mapping[str, int]) -> Tensor:
        chosen = space(self._spaces[parameters[self._variant]])
        resolution = parameters.get("resolution")
        restrict = None if resolution is None else {"r": [resolution]}
        graph = chosen.network(chosen.sample(1, parameters["arch"], restrict=restrict))
        graph = graph.with_batch(builder.batch)
        # Zeros for a bias are what runtimes of spaces add; a definition without one has none.
        layers = tuple(
            x.reading(Constants.of(*(c for c in x.constants if c.role != BUFFER)))
            if x.operator == "Conv"
            else x
            for x in graph.layers
        )
        return builder.extend(graph.of(layers), builder.input(*graph.in_shape[1:]))


def ofa() -> SpaceFamily:
    """Once-For-All's MobileNetV3."""
    spaces = {100: "ofa-mobilenet-v3-w1.0", 120: "ofa-mobilenet-v3"}
    source = "Cai et al., arXiv:1908.09791"
    return SpaceFamily(
        "ofa", "Once-For-All MobileNetV3", source, "width", spaces, range(128, 225, 4)
    )


def nb201() -> SpaceFamily:
    """NAS-Bench-201."""
    source = "Dong and Yang, arXiv:2001.00326"
    return SpaceFamily("nb201", "NAS-Bench-201", source, "classes", {10: "nasbench201"})


def fbnet() -> SpaceFamily:
    """FBNet for images of CIFAR and of ImageNet."""
    spaces = {100: "fbnet", 1000: "fbnet-imagenet"}
    return SpaceFamily("fbnet", "FBNet", "Wu et al., arXiv:1812.03443", "classes", spaces)
