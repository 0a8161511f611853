"""The kinds of predictors of architectures, by name."""

from __future__ import annotations

from latcast._names import unknown_name

from ._base import Predictor
from .bayes import Bayes
from .flops import Flops
from .lookup_table import LookupTable
from .mlp import MLP
from .roofline import Roofline

PREDICTORS: dict[str, type[Predictor]] = {
    p.kind: p for p in (Roofline, Bayes, LookupTable, MLP, Flops)
}


def predictor(kind: str) -> Predictor:
    """A new predictor of a kind, with its default options.

    Raises:
        ValueError: there is no such kind.
    """
    try:
        return PREDICTORS[kind]()
    except KeyError:
        raise ValueError(unknown_name("predictor", kind, list(PREDICTORS))) from None
