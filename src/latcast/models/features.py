"""Features of a space's networks: sums of block facts, and random units of such sums.

:class:`NetworkFeatures` are for a regression that carries over between targets. They come in
groups, each with a prior variance of its own: physics, blocks, rows of the block table, the same of
the blocks that a compiler would keep, and random units for what does not add up. All are centred
and scaled over a *population* of networks, so that a variance means the same in every space: the
share of the mean latency that the group explains, squared. :class:`BlockFeatures` are the first
three groups, standardized one by one over the very networks of a fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import scipy

from latcast.data.additive import incidence
from latcast.spaces import Archs, BlockTable, SearchSpace

from ._fitted import Form, no_values

Floats = npt.NDArray[np.float64]

# Facts that each cost time by themselves: their cost coefficients cannot be negative.
PHYSICS = (
    "conv_macs", "depthwise_macs", "linear_macs", "conv_bytes", "depthwise_bytes",
    "elementwise_bytes", "pool_bytes", "param_bytes", "launches",
)  # fmt: skip

UNITS = 128
"""Random units: as many as the roofline's correction has by default."""
UNIT_FACTS = (
    "conv_macs", "depthwise_macs", "conv_bytes", "depthwise_bytes", "elementwise_bytes", "launches",
)  # fmt: skip
# Networks over which features are scaled: as many tell a mean to 2 % of the deviation.
POPULATION = 2_048
# Networks whose sums stay in a core's cache.
CHUNK = 8_192


def population(space: SearchSpace, seen: dict[str, list[int]]) -> Archs:
    """Networks drawn from the gene values that were ``seen``, always the same ones."""
    choices = {g.name: set(g.choices) for g in space.genes}
    restrict = {
        name: sorted(choices[name] & set(values))
        for name, values in seen.items()
        if choices.get(name, set()) & set(values)
    }
    return space.sample(POPULATION, 0, restrict=restrict)


@dataclass(frozen=True)
class Units:
    """Random ReLU units (Rahimi and Recht 2007) on sums of facts; kinks lie among the networks.

    Attributes:
        weights: shape (sums, units).
        biases: shape (units,).
    """

    weights: Floats
    biases: Floats

    @classmethod
    def draw(cls, sums: Floats, units: int, rng: np.random.Generator) -> Units:
        """Units whose kinks lie within two standard deviations of the sums (n, sums)."""
        centre, spread = sums.mean(axis=0), sums.std(axis=0)
        spread = np.where(_varies(spread, centre), spread, np.inf)
        # Facts that do not vary have an infinite spread, hence a weight of 0: they only move kinks.
        weights = rng.normal(size=(len(centre), units)) / np.sqrt(np.isfinite(spread).sum() or 1)
        weights /= spread[:, None]
        return cls(weights, rng.uniform(-2.0, 2.0, units) - centre @ weights)

    def only(self, kept: npt.NDArray[np.bool_]) -> Units:
        """The units of a mask (units,); the others are 0 everywhere."""
        return Units(self.weights * kept, self.biases * kept)

    def __call__(self, sums: Floats) -> Floats:
        """Outputs, shape (n, units)."""
        result = sums @ self.weights
        result += self.biases
        return np.maximum(result, 0.0, out=result)


@dataclass(frozen=True)
class Functions:
    """f functions of networks: sums over their blocks, and units of such sums.

    Attributes:
        space: whose block table has the rows.
        rows: value of every block, shape (f, rows).
        live: value of every block that is not dead code, shape (f, rows); (f, 0) in a space
            without dead code.
        units: shared by all functions.
        outputs: weights of the units, shape (f, units).
        constant: shape (f,).
    """

    space: SearchSpace
    rows: Floats
    live: Floats
    units: Units
    outputs: Floats
    constant: Floats

    def check(self) -> None:
        """Make sure that the shapes belong together.

        Raises:
            ValueError: they do not.
        """
        f, rows = len(self.constant), len(self.space.block_table)
        dead = has_dead_code(self.space)
        sums = len(UNIT_FACTS) * (2 if dead else 1)
        units = len(self.units.biases)
        for name, array, shape in (
            ("rows", self.rows, (f, rows)),
            ("live", self.live, (f, rows if dead else 0)),
            ("unit weights", self.units.weights, (sums, units)),
            ("unit biases", self.units.biases, (units,)),
            ("outputs", self.outputs, (f, units)),
        ):
            if array.shape != shape:
                raise ValueError(f"the {name} must have shape {shape}; got {array.shape}")

    def __call__(self, archs: Archs) -> Floats:
        """Values, shape (n, f)."""
        result = np.empty((len(archs), len(self.constant)))
        for start in range(0, len(archs), CHUNK):
            part = archs[start : start + CHUNK]
            result[start : start + CHUNK] = self._chunk(part)
        return result

    def _chunk(self, archs: Archs) -> Floats:
        facts = _unit_facts(self.space)
        f = len(self.constant)
        sums = incidence(archs) @ np.hstack([self.rows.T, facts])
        result = self.constant + sums[:, :f]
        totals = sums[:, f:]
        if self.live.shape[1]:
            sums = live_incidence(archs) @ np.hstack([self.live.T, facts])
            result += sums[:, :f]
            totals = np.hstack([totals, sums[:, f:]])
        return np.asarray(result + self.units(totals) @ self.outputs.T)

    def form(self, lowest_ms: float) -> Form:
        """The first of the functions, in ms and not below ``lowest_ms``."""
        facts = _unit_facts(self.space)
        values = [np.hstack([self.rows[:1].T, facts])]
        if self.live.shape[1]:
            values.append(np.hstack([self.live[:1].T, facts]))
        # What the function sums itself comes first in each part; the units do not see it.
        parts = np.split(self.units.weights, len(values))
        seen = np.vstack([np.insert(part, 0, 0.0, axis=0) for part in parts])
        linear = np.tile(np.append(1.0, np.zeros(facts.shape[1])), len(values))
        live = values[1] if len(values) > 1 else no_values(len(facts))
        last = (self.outputs[:1].T, self.constant[:1])
        layers = [(seen, self.units.biases), last]
        return Form(values[0], live, False, linear, layers, lowest_ms)

    def combined(self, weights: npt.ArrayLike) -> Functions:
        """Linear combinations of the functions; weights (g, f)."""
        w = np.atleast_2d(np.asarray(weights, dtype=np.float64))
        return replace(
            self,
            rows=w @ self.rows,
            live=w @ self.live,
            outputs=w @ self.outputs,
            constant=w @ self.constant,
        )

    def __add__(self, other: Functions) -> Functions:
        """Sums, function by function, of functions with the same units."""
        return replace(
            self,
            rows=self.rows + other.rows,
            live=self.live + other.live,
            outputs=self.outputs + other.outputs,
            constant=self.constant + other.constant,
        )


class NetworkFeatures:
    """Features of a space's networks in groups, and the way back to functions of networks.

    Every group is centred and has a mean squared norm of 1 over the population.

    Args:
        population: n networks among which the functions are to hold.
        units: random units, or how many to draw.
    """

    def __init__(self, population: Archs, units: Units | int = UNITS) -> None:
        self.space = population.space
        table = self.space.block_table
        counts = incidence(population)
        live = live_incidence(population)
        self.has_dead = has_dead_code(self.space)
        physics, blocks = _physics(table), _blocks(table)
        maps = {"physics": (physics, False), "blocks": (blocks, False)}
        maps["rows"] = (_rows(table, counts), False)
        if self.has_dead:
            maps["live"] = (scipy.sparse.hstack([physics, blocks], format="csr"), True)
        self._groups: dict[str, tuple[BlockSums, bool]] = {}
        for name, (matrix, is_live) in maps.items():
            group = BlockSums.over(live if is_live else counts, matrix, together=True)
            if len(group.kept):
                self._groups[name] = group, is_live
        sums = self._sums(counts, live)
        if isinstance(units, int):
            units = Units.draw(sums, units, np.random.default_rng(0))
        self.units = units
        values = self.units(sums)
        self._unit_centre = values.mean(axis=0)
        # Some units are 0 among all networks: dividing by their spread would make rounding a
        # feature.
        spread = values.std(axis=0)
        active = spread > 1e-9
        self._unit_scale = np.where(active, spread, np.inf) * np.sqrt(max(1, int(active.sum())))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, in order."""
        return (*self._groups, "units")

    def __call__(self, archs: Archs) -> list[Floats]:
        """Features by group, each of shape (n, features of the group)."""
        counts = incidence(archs)
        live = live_incidence(archs) if self.has_dead else counts
        result = [g(live if is_live else counts) for g, is_live in self._groups.values()]
        units = self.units(self._sums(counts, live))
        return [*result, (units - self._unit_centre) / self._unit_scale]

    def functions(self, coefficients: list[Floats], constant: Floats) -> Functions:
        """The functions that coefficients by group, each (f, features of the group), stand for."""
        table = self.space.block_table
        rows = np.zeros((len(constant), len(table)))
        live = np.zeros((len(constant), len(table) if self.has_dead else 0))
        constant = constant.astype(np.float64)
        for (group, is_live), values in zip(self._groups.values(), coefficients, strict=False):
            part = (group.matrix @ values.T).T
            if is_live:
                live += part
            else:
                rows += part
            constant = constant - values @ group.centre
        outputs = coefficients[-1] / self._unit_scale
        constant = constant - outputs @ self._unit_centre
        return Functions(self.space, rows, live, self.units, outputs, constant)

    def constant(self, value: float) -> Functions:
        """The function that is ``value`` for every network."""
        sizes = [len(g.kept) for g, _ in self._groups.values()] + [len(self.units.biases)]
        return self.functions([np.zeros((1, size)) for size in sizes], np.array([value]))

    def _sums(self, counts: scipy.sparse.csr_matrix, live: scipy.sparse.csr_matrix) -> Floats:
        facts = _unit_facts(self.space)
        sums = counts @ facts
        return np.hstack([sums, live @ facts]) if self.has_dead else sums


@dataclass(frozen=True)
class BlockSums:
    """Sums of block values over networks, centred and scaled.

    Attributes:
        matrix: scaled value of every row of the block table, shape (rows, features).
        centre: mean of the scaled sums, shape (features,).
        kept: which columns of what was given vary among the networks, shape (features,).
    """

    matrix: scipy.sparse.csr_matrix
    centre: Floats
    kept: npt.NDArray[np.intp]

    @classmethod
    def over(
        cls,
        counts: scipy.sparse.csr_matrix,
        matrix: scipy.sparse.csr_matrix,
        *,
        together: bool = False,
    ) -> BlockSums:
        """Scaled over networks.

        Args:
            counts: of every block in every network, shape (n, rows).
            matrix: shape (rows, features); columns whose sums do not vary are left out.
            together: scale to a mean squared norm of 1 of all features, rather than of each.
        """
        sums = (counts @ matrix).toarray()
        spread = sums.std(axis=0)
        kept = np.flatnonzero(_varies(spread, np.abs(sums).max(axis=0, initial=0)))
        scale = spread[kept] * np.sqrt(len(kept) if together else 1)
        scaled = scipy.sparse.csr_matrix(matrix[:, kept] @ scipy.sparse.diags(1 / scale))
        return cls(scaled, sums[:, kept].mean(axis=0) / scale, kept)

    def __call__(self, counts: scipy.sparse.csr_matrix) -> Floats:
        """Features of networks by their counts of blocks (n, rows), shape (n, features)."""
        return np.asarray((counts @ self.matrix).toarray() - self.centre)


class BlockFeatures:
    """Standardized features of the networks of one fit, and the way back to values per row.

    Attributes:
        matrix: shape (n, features).
        kinds: kind of every feature: 0 physics, 1 block, 2 row of the block table.
    """

    def __init__(self, archs: Archs) -> None:
        table, counts = archs.space.block_table, incidence(archs)
        maps = [_physics(table), _blocks(table), _rows(table, counts)]
        self._sums = BlockSums.over(counts, scipy.sparse.hstack(maps, format="csr"))
        self.matrix: Floats = self._sums(counts)
        kinds = np.repeat([0, 1, 2], [m.shape[1] for m in maps])
        self.kinds: npt.NDArray[np.int64] = kinds[self._sums.kept]

    def row_values(self, coefficients: Floats) -> Floats:
        """Value of every row of the block table for coefficients of the features, shape (rows,)."""
        values: Floats = self._sums.matrix @ coefficients
        return values

    def offset(self, coefficients: Floats) -> float:
        """Return the sum of the row values over an average network: the matrix is centred."""
        return float(self._sums.centre @ coefficients)


@cache
def has_dead_code(space: SearchSpace) -> bool:
    """Whether networks of a space can have blocks without an influence on their output."""
    # Told by sampling: whether genes can switch blocks off is a matter of each space's rules.
    archs = space.sample(POPULATION, 0)
    return bool(
        (space.live_blocks(archs) != (space.block_ids(archs) < len(space.block_table))).any()
    )


def live_incidence(archs: Archs) -> scipy.sparse.csr_matrix:
    """How often every architecture has every block that is not dead code, shape (n, rows)."""
    rows = len(archs.space.block_table)
    ids = np.where(archs.space.live_blocks(archs), archs.space.block_ids(archs), rows)
    pointers = np.arange(0, ids.size + 1, ids.shape[1])
    matrix = scipy.sparse.csr_matrix(
        (np.ones(ids.size), ids.ravel(), pointers), shape=(len(archs), rows + 1)
    )
    matrix.sum_duplicates()
    return matrix[:, :rows]


def _physics(table: BlockTable) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix(np.stack([table.facts[name] for name in PHYSICS], axis=1))


def _blocks(table: BlockTable) -> scipy.sparse.csr_matrix:
    """Return the block of each row as features: constant, and in proportion to its traffic."""
    where = (np.arange(len(table)), table.groups)
    traffic = table.facts["read_bytes"] + table.facts["write_bytes"]
    return scipy.sparse.hstack(
        [scipy.sparse.csr_matrix((values, where)) for values in (np.ones(len(table)), traffic)],
        format="csr",
    )


def _rows(table: BlockTable, counts: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Return the row of the block table as features, for rows that occur."""
    used = np.flatnonzero(counts.sum(axis=0))
    where = (used, np.arange(len(used)))
    return scipy.sparse.csr_matrix((np.ones(len(used)), where), shape=(len(table), len(used)))


def _varies(spread: Floats, size: Floats) -> npt.NDArray[np.bool_]:
    """Whether standard deviations are more than the rounding of values of a size."""
    return np.asarray(spread > 1e-9 * (np.abs(size) + 1e-300))


def _unit_facts(space: SearchSpace) -> Floats:
    facts = space.block_table.facts
    return np.stack([facts[name] for name in UNIT_FACTS], axis=1)
