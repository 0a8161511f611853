"""The kinds of predictors by name: ours, and those of a user's own."""

from __future__ import annotations

from typing import TypeVar

from latcast._registry import Registry

from ._base import Predictor
from ._block_predictor import BlockPredictor
from .bayes import Bayes
from .flops import Flops
from .kernels import Kernels
from .lookup_table import LookupTable
from .mlp import MLP
from .roofline import Roofline

P = TypeVar("P", bound=type[Predictor])

PREDICTORS: dict[str, type[BlockPredictor]] = {
    p.kind: p for p in (Roofline, Bayes, LookupTable, MLP, Flops)
}
"""Latcast's own kinds of predictors of a search space's architectures."""

KINDS: Registry[type[Predictor]] = Registry(
    "predictor", "latcast.predictors", type, {**PREDICTORS, Kernels.kind: Kernels}
)
"""All kinds, a user's own among them."""


def predictor(kind: str) -> Predictor:
    """A new predictor of a kind, with its default options.

    Raises:
        ValueError: there is no such kind.
    """
    return KINDS.get(kind)()


def register_predictor(kind: P) -> P:
    """Make a kind of predictor known by its ``kind``, to model files as well; a decorator.

    An installed package does the same by an entry point of the group ``latcast.predictors``.

    Raises:
        ValueError: the name is that of one of latcast's own.
    """
    KINDS.register(kind.kind, kind)
    return kind
