"""Efficiencies of kernels against their physics, where thousands were measured alone.

Linear prices follow no tiles: of a library that picks one of many programs by the shape, single
kernels tell far more than sums do. A small neural network over relative facts of a kernel learns
the logarithm of its time over that of physics, an output for each precision. What it says is a
factor on the kernel, so that networks stay sums of kernels, and the weights of a target act on top
of it as everywhere (Riquelme, Tucker and Snoek, *Deep Bayesian Bandits Showdown*, ICLR 2018, call
that neural-linear).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from latcast._model_file import Array, Field, Values, texts
from latcast.math.neural_network import outputs, trained
from latcast.networks import Networks

from ._gpu import Facts, multiprocessors
from ._observations import Observations, TargetFacts
from ._targets import TargetFeatures
from ._work import CLASSES, Work, class_of

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# Kernels of a domain that must have been measured alone for it to have a network of its own. Of
# those of 1,200 operators on five GPUs (NeuSight) a network gained nothing on a GPU left out.
LEAST_KERNELS = 3000
# Rows of a target from which its weights are learnt, and effects beside them: the network has
# not seen their families, so that they tell how far it is off.
WEIGHT_ROWS = 1500
# Chosen by errors of TinyNAS's shapes left out: hidden units in each of two layers (of 96, 128),
# passes (of 10, 60, 120: this many are nearly as good) and rows of a step (of 512, 256).
HIDDEN, PASSES, STEP_ROWS = 128, 100, 256
# A fact in which kernels hardly differ is not stretched, and one far off counts as so far.
LEAST_DEVIATION, FARTHEST = 0.05, 5.0


@dataclass(frozen=True, eq=False)
class Efficiency:
    """Logarithms of kernels' times over those of physics, by facts: a network of two hidden layers.

    Attributes:
        facts: names of the relative facts that it takes, f of them.
        classes: names of the classes of kernels that it has seen; it says nothing of others.
        precisions: of its outputs, p of them.
        chips: that it was learnt from.
        mean, deviation: of the facts, shape (f,).
        limits: least and greatest logarithm that was seen in a precision, shape (2, p).
        layers: weights (f, h), (h, h), (h, p) and constants (h,), (h,), (p,), in turn.
    """

    facts: tuple[str, ...]
    classes: tuple[str, ...]
    precisions: tuple[str, ...]
    chips: tuple[str, ...]
    mean: Singles
    deviation: Singles
    limits: Singles
    layers: tuple[Singles, ...]

    def of(self, precision: str) -> Efficiency | None:
        """Return the efficiency in one precision; None if that was not measured."""
        if precision not in self.precisions:
            return None
        n = slice(at := self.precisions.index(precision), at + 1)
        layers = (*self.layers[:4], self.layers[4][:, n], self.layers[5][n])
        return replace(self, precisions=(precision,), limits=self.limits[:, n], layers=layers)

    def log_factors(self, networks: Networks, target: Facts) -> Floats:
        """Return log factors of d kernels in the first precision, 0 where unknown, shape (d,).

        Args:
            networks: of the kernels.
            target: facts of it.
        """
        known = np.array([name in self.classes for name in CLASSES])[class_of(networks)]
        found = relative_facts(networks, target)
        # A fact that a file has and latcast does not counts as its mean.
        inputs = np.tile(self.mean, (len(known), 1))
        for n, name in enumerate(self.facts):
            if name in found:
                inputs[:, n] = found[name]
        inputs = standardized(inputs, self.mean, self.deviation)
        out = np.clip(outputs(self.layers, inputs)[-1][:, 0], *self.limits[:, 0])
        return np.asarray(np.where(known, out, 0.0), dtype=np.float64)

    def log_factors_on(self, networks: Networks, targets: Sequence[Facts]) -> Floats:
        """:meth:`log_factors` on t targets, shape (d, t), which differ in their units alone."""
        units = [multiprocessors(target) or _UNITS for target in targets]
        known = dict(zip(units, targets, strict=True))
        found = {n: self.log_factors(networks, target) for n, target in known.items()}
        return np.stack([found[n] for n in units], axis=1)


# --- the file ---------------------------------------------------------------------------------

_OF_LAYERS = (
    ("facts", "units"), ("units",), ("units", "units"), ("units",), ("units", "outputs"),
    ("outputs",),
)  # fmt: skip


FIELDS: Mapping[str, Field] = {
    "efficiency_facts": Field(texts, list, ()),
    "efficiency_of": Field(
        lambda v: tuple((str(d), *map(texts, names)) for d, *names in v),
        lambda v: [[d, *map(list, names)] for d, *names in v],
        (),
    ),
}
"""Entries of a model file's header that name what :data:`ARRAYS` hold; older files have none."""

ARRAYS: Mapping[str, Array] = {
    f"efficiency_{name}": Array(("efficiencies", *shape), stored, "float32", is_optional=True)
    for name, shape, stored in (
        ("mean", ("efficiency_facts",), "float32"),
        ("deviation", ("efficiency_facts",), "float32"),
        ("limits", (2, "efficiency_outputs"), "float32"),
        *(
            (f"layer_{n}", tuple(f"efficiency_{side}" for side in shape), "float16")
            for n, shape in enumerate(_OF_LAYERS)
        ),
    )
}
"""Arrays of a model file by name: of e domains, all padded to the most precisions."""


def packed(found: Mapping[str, Efficiency]) -> Values:
    """Entries and arrays of a model file, by domain."""
    values: Values = {
        "efficiency_facts": next((e.facts for e in found.values()), ()),
        "efficiency_of": [(d, e.classes, e.precisions, e.chips) for d, e in found.items()],
    }
    if not found:
        return values
    most = max(len(e.precisions) for e in found.values())

    def stacked(of: Callable[[Efficiency], Singles], *, by_output: bool) -> Singles:
        arrays = [of(e) for e in found.values()]
        if by_output:
            missing = [[(0, 0)] * (a.ndim - 1) + [(0, most - a.shape[-1])] for a in arrays]
            arrays = [np.pad(a, m) for a, m in zip(arrays, missing, strict=True)]
        return np.array(arrays)

    values["efficiency_mean"] = stacked(lambda e: e.mean, by_output=False)
    values["efficiency_deviation"] = stacked(lambda e: e.deviation, by_output=False)
    values["efficiency_limits"] = stacked(lambda e: e.limits, by_output=True)
    for n in range(len(_OF_LAYERS)):
        layer = stacked(lambda e, n=n: e.layers[n], by_output=n > 3)  # type: ignore[misc]
        values[f"efficiency_layer_{n}"] = layer
    return values


def unpacked(v: Values) -> dict[str, Efficiency]:
    """The inverse.

    Raises:
        ValueError: parts do not fit each other.
    """
    of, facts, found = v["efficiency_of"], v["efficiency_facts"], {}
    arrays = {name: v[name] for name in ARRAYS if name in v}
    if of and len(arrays) < len(ARRAYS):
        missing = sorted(ARRAYS.keys() - arrays.keys())
        raise ValueError(f"a file with efficiencies must have the arrays {', '.join(missing)}")
    for e, (domain, classes, precisions, chips) in enumerate(of):
        mean, deviation, limits, *layers = (a[e] for a in arrays.values())
        if len(facts) != len(mean) or not 0 < len(precisions) <= limits.shape[1]:
            raise ValueError(
                f"there must be a name for each of {len(mean)} relative facts and of at most "
                f"{limits.shape[1]} precisions; got {len(facts)} and {len(precisions)}"
            )
        own = [x[..., : len(precisions)] if n > 3 else x for n, x in enumerate(layers)]
        limits = limits[:, : len(precisions)]
        found[domain] = Efficiency(
            facts, classes, precisions, chips, mean, deviation, limits, tuple(own)
        )
    return found


# --- facts ------------------------------------------------------------------------------------

# What channels and sides may be padded to, and tiles of products, over all multiprocessors.
_CHANNELS, _USUAL, _SIDES = (4, 8, 16, 32, 64, 128), (3, 8, 16, 32, 64), (2, 3, 4, 6, 8)
_TILES = ((128, 128), (128, 64), (256, 128), (64, 64), (128, 32), (32, 32))
_WINDOWS = (1, 9, 25, 49)
_MOST_PADDED = 2.0
# Multiprocessors of a GPU of which they are not known.
_UNITS = 80.0


def relative_facts(networks: Networks, target: Facts) -> dict[str, Singles]:
    """Sizes of d kernels as logarithms, what tiles pad them by, and their products, each (d,)."""
    names = ("macs", "positions", "outputs", "inputs", "window", "stride", "groups", "batch")
    f = {name: np.maximum(networks.fact(name), 1.0) for name in names}
    f["written"] = f["positions"] * f["outputs"]
    # Numbers are as wide as those written; of a file in integers they are the same numbers.
    width = np.maximum(networks.fact("write_bytes") / f["written"], 1.0)
    f |= {
        "read": np.maximum(networks.fact("read_bytes"), 1.0) / width,
        "channels": f["inputs"] * f["groups"],
        "depth": f["inputs"] * f["window"],
        "side": np.sqrt(np.maximum(f["positions"] / f["batch"], 1.0)),
    }
    f["constants"] = f["outputs"] * f["depth"]
    f["intensity"] = f["macs"] / (f["read"] + f["written"] + f["constants"])
    found = {name: np.log(values) for name, values in f.items()}
    windows = {f"window {w}": f["window"] == w for w in _WINDOWS}
    flags = {
        "alone": (f["groups"] > 1) & (f["inputs"] <= 1),
        "fused": networks.fact("layers") > 1,
        "strided": f["stride"] > 1,
        "single": f["batch"] <= 1,
        **windows,
    }
    padded = {f"side padded to {m}": _padded(f["side"], m) for m in _SIDES}
    found |= padded | {"square": f["channels"] == f["outputs"]}
    found["positions padded to 128"] = _padded(f["positions"], 128)
    found["depth padded to 32"] = _padded(f["depth"], 32)
    for of in ("channels", "outputs"):
        found |= {f"{of} padded to {m}": _padded(f[of], m) for m in _CHANNELS}
        found |= {f"{of} near {m}": np.exp(-((np.log(f[of] / m) / 0.2) ** 2)) for m in _USUAL}
    sizes = {name: found[name] for name in ("channels", "outputs", "positions", "macs")}
    apart = {name: flags[name] for name in ("alone", "strided")}
    for left, right in (
        (flags, sizes), (windows, {"side": found["side"]}), (windows, padded), (apart, windows)
    ):  # fmt: skip
        found |= {f"{a} x {b}": x * y for a, x in left.items() for b, y in right.items()}
    units = multiprocessors(target) or _UNITS
    for high, wide in _TILES:
        waves = np.ceil(f["positions"] / high) * np.ceil(f["outputs"] / wide) / units
        found[f"waves of {high} x {wide}"] = np.log(waves)
        found[f"last wave of {high} x {wide}"] = _padded(waves, 1)
    return {name: np.asarray(x, dtype=np.float32) for name, x in (found | flags).items()}


def _padded(values: Floats, to: int) -> Floats:
    """Logarithm of what padding to whole multiples adds."""
    return np.asarray(np.minimum(np.log(np.ceil(values / to) * to / values), _MOST_PADDED))


def standardized(values: Singles, mean: Singles, deviation: Singles) -> Singles:
    """Facts (d, f) by their mean and deviation."""
    return np.asarray(np.clip((values - mean) / deviation, -FARTHEST, FARTHEST))


# --- learning ---------------------------------------------------------------------------------


def efficiencies(
    observations: Observations,
    features: TargetFeatures,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, Efficiency], Observations]:
    """Networks of the domains in which enough kernels were measured alone, and the other rows.

    Weights are learnt from these: of whole networks, of other domains, and so many of a target
    that its network has not seen.
    """
    found: dict[str, Efficiency] = {}
    left = np.ones(len(observations), dtype=np.bool_)
    domains = np.array([t.domain for t in observations.targets])[observations.target]
    counts = observations.networks.counts
    alone = (np.diff(counts.indptr) == 1) & (np.asarray(counts.sum(axis=1)).ravel() == 1)
    # Of a target with fewer rows all are for its weights.
    rows = np.bincount(observations.target, alone[observations.network])[observations.target]
    single = alone[observations.network] & (rows > WEIGHT_ROWS)
    for domain in np.unique(domains[single]).tolist():
        own = single & (domains == domain)
        if len(np.unique(counts.indices[counts.indptr[observations.network[own]]])) < LEAST_KERNELS:
            continue
        start = time.perf_counter()
        learnt = own & ~_kept_apart(observations, own)
        learnt &= np.isin(observations.target, observations.target[~learnt])
        found[domain] = _learnt_once(observations.select(learnt), features)
        left &= ~learnt
        seconds = time.perf_counter() - start
        report(f"{domain}: learned features of {learnt.sum()} kernels' times, {seconds:.0f} s")
    return found, observations.select(left)


_LEARNT: WeakKeyDictionary[Networks, dict[bytes, Efficiency]] = WeakKeyDictionary()


def _learnt_once(data: Observations, features: TargetFeatures) -> Efficiency:
    """:func:`_learn`; folds that leave out chips of other tables have the same rows, once."""
    own = sorted(set(data.target.tolist()))
    prices = [features.log_prices(data.targets[t]) for t in own]
    facts = repr([data.targets[t] for t in own]).encode()
    parts = [x.tobytes() for x in (*prices, data.network, data.target, data.log_ms)]
    key = blake2b(b"".join([facts, *parts])).digest()
    known = _LEARNT.setdefault(data.networks, {})
    if key not in known:
        known[key] = _learn(data, features)
    return known[key]


def _kept_apart(observations: Observations, own: Bools) -> Bools:
    """Rows of families of networks from which weights are learnt, about as many as wanted."""
    families = observations.measured_families
    names = np.unique(families[own])
    most = np.bincount(observations.target[own]).max()
    rng = np.random.default_rng(0)
    count = round(len(names) * min(WEIGHT_ROWS / most, 0.5))
    return np.asarray(np.isin(families, rng.permutation(names)[:count]))


def _learn(data: Observations, features: TargetFeatures) -> Efficiency:
    """Learn from rows of single kernels in one domain."""
    targets = [data.targets[t] for t in np.unique(data.target).tolist()]
    precisions = tuple(dict.fromkeys(t.precision for t in targets))
    tables, logs, classes = [], [], np.zeros(0, dtype=np.intp)
    names: tuple[str, ...] = ()
    chips = tuple(dict.fromkeys(t.chip for t in targets))
    for chip in chips:
        rows = np.flatnonzero(data.chips == chip)
        numbers, place = np.unique(data.network[rows], return_inverse=True)
        networks = data.networks.select(numbers)
        at = networks.counts.indices
        own = np.full((len(numbers), len(precisions)), np.nan, dtype=np.float32)
        for t in np.unique(data.target[rows]).tolist():
            target, some = data.targets[t], data.target[rows] == t
            rest = data.log_ms[rows[some]] - _physics(networks, target, features)[at[place[some]]]
            own[place[some], precisions.index(target.precision)] = rest
        facts = relative_facts(networks, target.facts)
        names, classes = tuple(facts), np.union1d(classes, class_of(networks))
        tables.append(np.stack(list(facts.values()), axis=1)[at])
        logs.append(own)
    inputs, wanted = np.concatenate(tables), np.concatenate(logs)
    mean, deviation = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), LEAST_DEVIATION)
    layers = trained(
        standardized(inputs, mean, deviation), wanted, hidden=HIDDEN, passes=PASSES, rows=STEP_ROWS
    )
    limits = np.array([np.nanmin(wanted, axis=0), np.nanmax(wanted, axis=0)])
    seen = tuple(CLASSES[n] for n in classes.tolist())
    return Efficiency(names, seen, precisions, chips, mean, deviation, limits, layers)


def _physics(networks: Networks, target: TargetFacts, features: TargetFeatures) -> Floats:
    """Log ms of d kernels at the prices of a target's device, shape (d,)."""
    work = Work.of(networks).run_by(networks, target.facts)
    each = sp.identity(len(networks.ops), format="csr")
    prices, overlap = features.log_prices(target), features.overlap(target)
    return work.log_ms_alone(each, np.zeros(work.size), prices, overlap)
