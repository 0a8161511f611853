"""Families of networks, and seeded samples of them: what a predictor of any network learns from."""

from ._family import Family
from ._population import Member, family, family_names, population

__all__ = ["Family", "Member", "family", "family_names", "population"]
