"""Spaces whose networks share weights."""

from __future__ import annotations

from abc import abstractmethod

from ._base import Archs, SearchSpace
from ._mobile import MobileNet
from ._resnet import ResNet


class SupernetSpace(SearchSpace):
    """A space whose networks share the weights of one of them, the supernet."""

    @abstractmethod
    def specification(self, arch: Archs) -> MobileNet | ResNet:
        """Widths and blocks of one architecture (a batch of one).

        Raises:
            ValueError: the batch does not hold exactly one architecture.
        """

    def supernet(self) -> MobileNet | ResNet:
        """Widths and blocks of the network that holds all others, all genes at their largest."""
        largest = [gene.choices[-1] for gene in self.genes]
        return self.specification(Archs(self, [largest]))
