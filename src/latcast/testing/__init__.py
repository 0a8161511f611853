"""Contracts that everything of its kind must keep: put your own through them, as our tests do.

Each function raises AssertionError where a contract is broken.
"""

from .quantities import check_quantity
from .spaces import SPACE_CHECKS, check_space

__all__ = ["SPACE_CHECKS", "check_quantity", "check_space"]
