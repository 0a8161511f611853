"""Simple methods that ours is shown beside.

Every one learns from the targets of one domain and precision only: it has no way to bring a
latency of one runtime over to another. Latencies are divided by the size of the network, so that a
network that was measured at two batches is one network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from latcast.math.least_squares import non_negative
from latcast.models.joint import Observations, TargetFacts
from latcast.models.joint.alike import (
    NOISE,
    Gaussian,
    Key,
    LatencyTable,
    group_of,
    groups_of,
    log_work,
    row_names,
    two_way,
)
from latcast.networks import Networks

from .coefficients import Coefficients, Prior
from .methods import Forecast, Method

Floats = npt.NDArray[np.float64]

# --- networks in a few numbers ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sizes:
    """Networks in a few numbers, each (n,).

    Attributes:
        macs: multiply-adds.
        moved: bytes of activations that are read and written.
        written: bytes of activations that are written.
        weights: bytes of parameters.
    """

    macs: Floats
    moved: Floats
    written: Floats
    weights: Floats

    @staticmethod
    @lru_cache(maxsize=512)  # the same networks are asked for with every draw of measurements
    def of(networks: Networks) -> Sizes:
        """Sums over the kernels of every network."""

        def total(*facts: str) -> Floats:
            return np.asarray(networks.counts @ sum(networks.fact(f) for f in facts))

        return Sizes(
            total("macs"), total("read_bytes", "write_bytes"), total("write_bytes"),
            total("param_bytes"),
        )  # fmt: skip

    @property
    def bytes(self) -> Floats:
        """Memory traffic with every tensor read and written once."""
        return self.moved + self.weights

    def polynomial(self) -> Floats:
        """Logarithms of MACs, activations and parameters, their squares and products, (n, 9)."""
        logs = [np.log(np.maximum(x, 1.0)) for x in (self.macs, self.written, self.weights)]
        # Centred near a middle-sized network: the squares are else nearly multiples of the logs.
        x = np.stack(logs, axis=1) - np.log([1e9, 1e7, 1e7])
        squares = [x[:, i] * x[:, j] for i in range(3) for j in range(i, 3)]
        return np.column_stack([x, *squares])


# --- baselines --------------------------------------------------------------------------------


class RankOne:
    """Every target is a factor times every known network: log ms = a_target + b_network."""

    is_calibrated: ClassVar[bool] = False

    def fit(self, train: Observations) -> None:
        self._groups: dict[Key, tuple[LatencyTable, Floats, float, float]] = {}
        for key, rows in groups_of(train).items():
            known = LatencyTable(train.select(rows))
            speeds, networks = two_way(known.values)
            rest = known.values - speeds[:, None] - networks
            deviation = float(np.sqrt(np.nanmean(rest**2) + NOISE))
            self._groups[key] = known, networks, float(speeds.mean()), deviation

    def predict(
        self, target: TargetFacts, measured: Observations, networks: Networks,
        names: Sequence[str],
    ) -> Forecast:  # fmt: skip
        if group_of(target) not in self._groups:
            return _nothing(len(networks))
        known, effects, speed, deviation = self._groups[group_of(target)]
        mine, own = known.measured(measured)
        if len(mine):
            speed = float(np.mean(own - effects[mine]))
        columns = known.columns(names)
        log = speed + effects[columns] + log_work(networks)
        return Forecast.around(np.where(columns >= 0, log, np.nan), deviation)


class KnownGaussian:
    """Log latencies of the known networks are jointly normal over targets, as :class:`Gaussian`."""

    is_calibrated: ClassVar[bool] = False

    def fit(self, train: Observations) -> None:
        groups = groups_of(train).items()
        self._groups = {key: Gaussian.fit(train.select(rows)) for key, rows in groups}

    def predict(
        self, target: TargetFacts, measured: Observations, networks: Networks,
        names: Sequence[str],
    ) -> Forecast:  # fmt: skip
        if group_of(target) not in self._groups:
            return _nothing(len(networks))
        own = self._groups[group_of(target)]
        seen = own.told(*own.table.measured(measured))
        mean, variance = own.forecast(seen, own.table.columns(names))
        return Forecast.around(mean + log_work(networks), np.sqrt(variance))


class LogQuadratic:
    """A quadratic function of the logarithms of MACs, activations and parameters.

    It is fitted to the target itself where enough networks of it were measured. Else its slopes
    are those of the other targets together, and what was measured moves it as a whole.
    """

    is_calibrated: ClassVar[bool] = False
    OWN_ROWS = 30
    PENALTY = 1e-3

    def fit(self, train: Observations) -> None:
        self._groups: dict[Key, tuple[Floats, float, float]] = {}
        for key, rows in groups_of(train).items():
            part = train.select(rows)
            x = Sizes.of(part.networks).polynomial()[part.network]
            # Within targets: their means are their own.
            _, own = np.unique(part.target, return_inverse=True)
            x_mean, y_mean = _means(own, x), _means(own, part.log_ms[:, None])
            slopes = self._slopes(x - x_mean[own], part.log_ms - y_mean[own, 0])
            rest = part.log_ms - x @ slopes
            level = float(np.mean(_means(own, rest[:, None])))
            self._groups[key] = (
                slopes,
                level,
                float(np.std(rest - _means(own, rest[:, None])[own, 0])),
            )

    def _slopes(self, x: Floats, y: Floats) -> Floats:
        gram = x.T @ x + self.PENALTY * len(x) * np.diag(x.var(axis=0) + 1e-9)
        return np.asarray(np.linalg.solve(gram, x.T @ y))

    def predict(
        self, target: TargetFacts, measured: Observations, networks: Networks,
        names: Sequence[str],
    ) -> Forecast:  # fmt: skip
        if group_of(target) not in self._groups:
            return _nothing(len(networks))
        slopes, level, deviation = self._groups[group_of(target)]
        if len(measured):
            x = Sizes.of(measured.networks).polynomial()[measured.network]
            if len(measured) >= self.OWN_ROWS:
                slopes = self._slopes(x - x.mean(axis=0), measured.log_ms - measured.log_ms.mean())
            level = float(np.mean(measured.log_ms - x @ slopes))
        return Forecast.around(Sizes.of(networks).polynomial() @ slopes + level, deviation)


class PlainRoofline:
    """The larger of arithmetic at the peak and memory traffic at the bandwidth, kernel by kernel.

    Williams, Waterman and Patterson (2009); nothing is fitted, and nothing measured counts.
    """

    is_calibrated: ClassVar[bool] = False
    DEVIATION = 0.5

    def fit(self, train: Observations) -> None:
        pass

    def predict(
        self, target: TargetFacts, measured: Observations, networks: Networks,
        names: Sequence[str],
    ) -> Forecast:  # fmt: skip
        peak, bandwidth = (target.facts.get(f) for f in ("peak_flops", "bandwidth_gb_s"))
        if not peak or not bandwidth:
            return _nothing(len(networks))
        moved = sum(networks.fact(f) for f in ("param_bytes", "read_bytes", "write_bytes"))
        share = {"fp32": 1.0, "int8": 0.25}.get(target.precision, 0.5)
        seconds = np.maximum(2 * networks.fact("macs") / peak, share * moved / (1e9 * bandwidth))
        return Forecast.around(np.log(1e3 * (networks.counts @ seconds)), self.DEVIATION)


class ThreeNumbers:
    """ms = a MACs + b bytes + c with a, b, c >= 0, fitted to what was measured of the target.

    Non-negative least squares of relative errors.
    """

    is_calibrated: ClassVar[bool] = False
    DEVIATION = 0.3

    def fit(self, train: Observations) -> None:
        pass

    def predict(
        self, target: TargetFacts, measured: Observations, networks: Networks,
        names: Sequence[str],
    ) -> Forecast:  # fmt: skip
        if not len(measured):
            return _nothing(len(networks))
        x = self._columns(measured.networks)[measured.network]
        relative = x / np.exp(measured.log_ms)[:, None]
        scale = relative.max(axis=0)
        seen = scale > 0  # what no measured network has tells nothing of its cost
        # One more row a number, hardly of any weight: there may be fewer networks than numbers.
        padded = np.vstack([relative[:, seen], np.diag(1e-6 * scale[seen])])
        right = np.concatenate([np.ones(len(relative)), np.zeros(int(seen.sum()))])
        ms = self._columns(networks)[:, seen] @ non_negative(padded, right)
        # Three zeros forecast nothing.
        return Forecast.around(np.log(np.where(ms > 0, ms, np.nan)), self.DEVIATION)

    @staticmethod
    def _columns(networks: Networks) -> Floats:
        sizes = Sizes.of(networks)
        return np.column_stack([sizes.macs, sizes.bytes, np.ones(len(networks))])


class HierarchicalCoefficients:
    """Eight costs a target, whose prior is learnt from the other targets (:mod:`.coefficients`)."""

    is_calibrated: ClassVar[bool] = False

    def fit(self, train: Observations) -> None:
        self._groups: dict[Key, tuple[Prior, dict[str, float]]] = {}
        for key, rows in groups_of(train).items():
            part = train.select(rows)
            model = Coefficients.of(part.networks)
            targets = np.unique(part.target)
            own = [(part.network[part.target == t], part.log_ms[part.target == t]) for t in targets]
            prior = model.learn(own)
            # Networks that are forecast too long on all targets keep their factor.
            rest: dict[str, list[float]] = {}
            for numbers, y in own:
                weights, _ = model.posterior(prior, numbers, y)
                for n, error in zip(numbers, y - model.log_ms(weights)[numbers], strict=True):
                    rest.setdefault(part.names[n], []).append(float(error))
            residuals = {k: sum(v) / (len(v) + 2.0) for k, v in rest.items()}
            self._groups[key] = prior, residuals

    def predict(
        self, target: TargetFacts, measured: Observations, networks: Networks,
        names: Sequence[str],
    ) -> Forecast:  # fmt: skip
        if group_of(target) not in self._groups:
            return _nothing(len(networks))
        prior, residuals = self._groups[group_of(target)]
        mine = Coefficients.of(measured.networks)
        shifts = np.array([residuals.get(name, 0.0) for name in row_names(measured)])
        weights, covariance = mine.posterior(prior, measured.network, measured.log_ms - shifts)
        theirs = Coefficients.of(networks)
        log, slopes = theirs.log_ms(weights), theirs.shares(weights)
        variance = np.einsum("nr,rs,ns->n", slopes, covariance, slopes) + prior.noise
        shift = np.array([residuals.get(name, 0.0) for name in names])
        return Forecast.around(log + shift, np.sqrt(variance))


# --- helpers ----------------------------------------------------------------------------------


def _nothing(n: int) -> Forecast:
    gap = np.full(n, np.nan)
    return Forecast(gap, gap, gap)


def _means(groups: npt.NDArray[np.intp], values: Floats) -> Floats:
    """Mean row of ``values`` (m, p) in every group, (groups, p)."""
    total = np.zeros((int(groups.max()) + 1, values.shape[1]))
    np.add.at(total, groups, values)
    return np.asarray(total / np.bincount(groups)[:, None])


BASELINES: Mapping[str, Callable[[], Method]] = {
    "rank-1": RankOne,
    "gaussian": KnownGaussian,
    "log-linear": LogQuadratic,
    "roofline": PlainRoofline,
    "macs-bytes-constant": ThreeNumbers,
    "coefficients": HierarchicalCoefficients,
}
"""Name of a baseline -> what makes it."""
