"""LookupTable: a number per block; a network's latency is their sum."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from latcast._model_file import Array, Schema
from latcast.data import ofa_lookup_table
from latcast.data.additive import AdditiveFit, fit_additive
from latcast.devices import Target
from latcast.spaces import Archs, SearchSpace

from ._base import Predictor
from ._block_predictor import LOWEST_SHARE, BlockPredictor
from ._fitted import Fitted, Floats, Form
from ._model import State
from ._tunable import Real

# Architectures that show which gene values a table knows.
_SAMPLED = 2_000


SCHEMA = Schema(
    {},
    {
        "values_ms": Array(("blocks",)),
        "known": Array(("blocks",), "uint8", "bool"),
        "constant": Array(("blocks",), "uint8", "bool"),
        "scalars": Array((2,)),  # intercept, least value
    },
)


class LookupTable(BlockPredictor):
    """Once-For-All's way: read from a table, or fitted from whole-network latencies.

    Args:
        penalty: weight of the shrinkage when fitting (see
            :func:`latcast.data.additive.fit_additive`).

    Raises:
        ValueError: ``penalty`` is not positive.
    """

    kind = "lookup-table"
    description = "a number of ms per block, fitted from networks or read from a table"
    tunable = {"penalty": Real(1e-6, 100.0, log=True)}  # noqa: RUF012

    def __init__(self, penalty: float = 1e-3) -> None:
        super().__init__()
        if not penalty > 0:
            raise ValueError(f"penalty must be positive; got {penalty}")
        self._penalty = penalty

    @classmethod
    def from_ofa(cls, path: str | Path, space: SearchSpace, target: Target) -> Self:
        """Read Once-For-All's YAML tables (a folder, or the file of one resolution).

        Call :meth:`calibrate` with measured networks to get intervals.

        Raises:
            ValueError: a file is malformed, or no key is a block of ``space``.
            FileNotFoundError: there is no table at ``path``.
        """
        block_space = space.expand(space.sample(1, 0)).space
        table = ofa_lookup_table.read(path)
        values = np.array([table.get(key, np.nan) for key in block_space.block_table.keys])
        if np.isnan(values).all():
            raise ValueError(
                f"no block of {path} is one of {block_space.name}: is it of another width?"
            )
        return cls.from_blocks(block_space, target, values, card={"data": {"source": str(path)}})

    @classmethod
    def from_blocks(
        cls,
        space: SearchSpace,
        target: Target,
        values_ms: Floats,
        *,
        overhead_ms: float = 0.0,
        card: dict[str, Any] | None = None,
    ) -> Self:
        """A table that has been measured block by block.

        Call :meth:`calibrate` with measured networks to get intervals.

        Args:
            space: search space; its block table has the rows.
            target: what the values belong to.
            values_ms: of every row of the block table, shape (rows,); NaN where unknown.
            overhead_ms: of every network, besides its blocks.
            card: what the model file shall say of the table's source.
        """
        predictor = cls()
        predictor._fitted = Fitted(space, target, _known_genes(space, values_ms), card=card or {})
        predictor._table = AdditiveFit(
            space.name, overhead_ms, values_ms, np.zeros(len(values_ms), bool)
        )
        predictor._lowest_ms = 0.0
        return predictor

    def options(self) -> dict[str, Any]:
        return {"penalty": self._penalty}

    def _fit(self, archs: Archs, latency_ms: Floats, rng: np.random.Generator) -> None:
        self._table = fit_additive(archs, latency_ms, self._penalty)
        self._lowest_ms = LOWEST_SHARE * float(latency_ms.min())

    def _predict(self, archs: Archs) -> Floats:
        return np.maximum(self._table.predict(archs), self._lowest_ms)

    def _explain(self, archs: Archs) -> Floats:
        return self.space.gather(archs, self._table.values_ms)

    def _schema(self) -> Schema:
        return SCHEMA

    def _state(self) -> State:
        return {
            "values_ms": np.nan_to_num(self._table.values_ms),
            "known": ~np.isnan(self._table.values_ms),
            "constant": self._table.constant,
            "scalars": np.array([self._table.intercept, self._lowest_ms]),
        }

    def _restore(self, state: State, parts: Mapping[str, Predictor]) -> None:
        values = np.where(state["known"], state["values_ms"], np.nan)
        intercept, self._lowest_ms = (float(v) for v in state["scalars"])
        self._table = AdditiveFit(self.space.name, intercept, values, state["constant"])

    def _form(self) -> Form:
        return Form.additive(self._table.values_ms, self._table.intercept, self._lowest_ms)


def _known_genes(space: SearchSpace, values: Floats) -> dict[str, list[int]]:
    """Gene values for which the table has every block."""
    seen = {g.name: list(g.choices) for g in space.genes}
    if "r" in seen:
        return seen | {"r": [r for r in seen["r"] if _has_resolution(space, values, r)]}
    archs = space.sample(_SAMPLED, 0)
    known = archs.genes[~np.isnan(space.block_sums(archs, values))]
    columns = zip(seen, known.T, strict=True)
    return {name: np.unique(column).tolist() for name, column in columns}


def _has_resolution(space: SearchSpace, values: Floats, resolution: int) -> bool:
    arch = space.sample(1, 0, restrict={"r": [resolution]})
    return not np.isnan(space.gather(arch, values)).any()
