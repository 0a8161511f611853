"""Families of networks, and seeded samples of them: what a predictor of any network learns from."""

from ._builder import OnnxBuilder
from ._family import Family
from ._population import Member, family, family_names, population
from ._writer import Tensor

__all__ = [
    "Family",
    "Member",
    "OnnxBuilder",
    "Tensor",
    "family",
    "family_names",
    "population",
]
