"""Contracts that everything of its kind must keep: put your own through them, as our tests do.

Each function raises AssertionError where a contract is broken.
"""

from .quantities import check_quantity

__all__ = ["check_quantity"]
