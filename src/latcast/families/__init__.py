"""Families of networks, and seeded samples of them: what a predictor of any network learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latcast._imports import public_names

if TYPE_CHECKING:
    from ._family import Family
    from ._population import Variant, family, family_names, population
else:
    __getattr__, __dir__ = public_names(__name__)

__all__ = ["Family", "Variant", "family", "family_names", "population"]
