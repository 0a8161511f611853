"""Two datasets of the same networks, or a forecast and a dataset: what differs, and why it may.

Of every network that both have, the ratio of its values is tested against 1, and against the
ratio that all networks share, by the scatter that the values state: that of a network's runs, or
a forecast's interval. Among hundreds of tests some are significant by chance: the share of false
ones among those that are told is controlled (Benjamini and Hochberg 1995, *Controlling the false
discovery rate*).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.data import FORMATS, Dataset, Quantity, quantity, read
from latcast.math.order_statistics import median_interval
from latcast.measure import REFERENCE_LEVEL
from latcast.measure.conditions import EXPECTED, Condition, conditions
from latcast.report import charts
from latcast.report.axis import Axis
from latcast.report.figure import Figure, Guide, Series
from latcast.report.markup import counted, start_of
from latcast.report.record import Record
from latcast.report.table import Column, Table

from ._base import Predictor
from .hub import is_file
from .resolve import TargetQuery, load_with_data, resolve_one

Floats = npt.NDArray[np.float64]
Side = Dataset | Predictor | str | Path

FALSE_SHARE = 0.05
"""Share of false ones among the networks that are said to differ, by default."""
# Degrees of freedom of a stated scatter: of a campaign's network it is a mean of its own and the
# campaign's, which counts for four, and so are a network's repeats in other datasets (three).
_FREEDOM = 4.0
_COVERAGE = 0.9  # of the intervals that tell a forecast's deviation
_Z90 = 1.645
# Rows of a table on a terminal; JSON has all.
_SHOWN, _FARTHEST = 15, 5
_LIKELY_CAUSE = 0.5  # share of the common ratio that the reference network explains


# --- the networks -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComparedNetwork:
    """A network that both sides have.

    Attributes:
        network: its name; of an architecture its row in B.
        row_a: its first row in A.
        row_b: its first row in B.
        a: its value in A, in the quantity's unit.
        b: its value in B.
        ratio: B over A.
        standard_error: of the ratio, relative; null where a side does not state its scatter.
        q_value: least share of false ones with which it is among those that differ (Benjamini and
            Hochberg); null where nothing is known of the scatter.
        differs: whether its values differ.
        specific_ratio: its ratio over the one that all networks share.
        specific_q_value: as ``q_value``, that its ratio is not the common one.
        differs_by_itself: whether its ratio is not the common one.
    """

    network: str
    row_a: int
    row_b: int
    a: float
    b: float
    ratio: float
    standard_error: float | None
    q_value: float | None
    differs: bool
    specific_ratio: float
    specific_q_value: float | None
    differs_by_itself: bool


@dataclass(frozen=True)
class ComparedFamily:
    """The networks of a family that both sides have.

    Attributes:
        family: its name.
        networks: how many.
        ratio: median of B over A.
        ratio_low: the tenth percentile of the ratios.
        ratio_high: the ninetieth.
        differing_by_themselves: networks whose ratio is not the one that all networks share.
    """

    family: str
    networks: int
    ratio: float
    ratio_low: float
    ratio_high: float
    differing_by_themselves: int


@dataclass(frozen=True, repr=False)
class Comparison(Record):
    """Two datasets, or a forecast and a dataset, compared.

    Attributes:
        a: name of A.
        b: name of B.
        kinds: of A and of B, ``measured`` or ``forecast``.
        quantity: what the values are of, such as ``latency_ms``.
        compared: networks that both have.
        only_a: networks that A alone has; 0 of a forecast.
        only_b: networks that B alone has.
        ratio: that all networks share: the median of B over A.
        ratio_lower: lower end of its 95 % interval; null with fewer than six networks.
        ratio_upper: upper end.
        reference_ratio: of the reference network, B over A: how much slower the machine itself
            was; null where a side does not state it.
        tested: networks whose scatter both sides state.
        false_share: of false ones among those that are said to differ, at most, on average.
        differing: networks that differ.
        differing_by_themselves: networks whose ratio is not the common one.
        networks: those that both have, the surest difference from the common ratio first.
        conditions: what was true of the machines and their runtimes, what differs first.
        notes: doubts about the comparison, a sentence each.
        ratio_low: the tenth percentile of the ratios of all networks.
        ratio_high: the ninetieth.
        families: of networks of any kind, the ratios of each family, the farthest from the one that
            all share first; empty for architectures.
    """

    schema = "comparison"
    frame = "networks"
    no_figure = "the two have no network in common"

    a: str
    b: str
    kinds: tuple[str, str]
    quantity: str
    compared: int
    only_a: int
    only_b: int
    ratio: float
    ratio_lower: float | None
    ratio_upper: float | None
    reference_ratio: float | None
    tested: int
    false_share: float
    differing: int
    differing_by_themselves: int
    networks: tuple[ComparedNetwork, ...]
    conditions: tuple[Condition, ...]
    notes: tuple[str, ...]
    ratio_low: float = float("nan")
    ratio_high: float = float("nan")
    families: tuple[ComparedFamily, ...] = ()

    def headline(self) -> str:
        return f"{_short(self.a)} beside {_short(self.b)}"

    def answer(self) -> str:
        interval = ""
        if self.ratio_lower is not None and self.ratio_upper is not None:
            interval = f" ({self.ratio_lower:.3f} – {self.ratio_upper:.3f})"
        tested = counted(self.tested, "tested network")
        told = f"; {self.differing} of {tested} differ" if self.tested else ""
        return (
            f"{_short(self.b)} takes {self.ratio:.3f} times{interval} as much as "
            f"{_short(self.a)} on the {counted(self.compared, 'network')} that both have{told}."
        )

    def figures(self) -> Iterator[Figure]:
        groups = {
            name: [n for n in self.networks if n.differs is differs]
            for name, differs in (("alike", False), ("differs", True))
        }
        series = tuple(
            Series(
                name, [n.a for n in own], [n.ratio for n in own],
                labels=[f"{n.network}\n{n.a:.4g} and {n.b:.4g}: {n.ratio:.3f} times" for n in own],
            )
            for name, own in groups.items() if own
        )  # fmt: skip
        unit = quantity(self.quantity).unit
        wide = charts.is_wide([n.a for n in self.networks])
        if series:
            yield Figure(
                "Ratio by size", Axis(f"{start_of(Path(self.a).name, 40)}, {unit}", log=wide),
                Axis("ratio of the second to the first"), series,
                (Guide("equal", y=1.0),),
            )  # fmt: skip

    def parts(self) -> Iterator[Table | str]:
        of: Quantity = quantity(self.quantity)
        yield f"A: {self.a} ({self.kinds[0]})\nB: {self.b} ({self.kinds[1]})\n"
        yield self._summary(of)
        differing = [c for c in self.conditions if c.differs]
        if differing:
            yield ""
            yield Table(_CONDITION_COLUMNS, differing, "conditions that differ:")
        else:
            yield "\nno condition that both state differs"
        if len(self.families) > 1:
            yield ""
            yield Table(_FAMILY_COLUMNS, self.families, "by family:")
        # Where all differ alike, thousands of them say no more than the ratio that they share.
        own = [n for n in self.networks if n.differs_by_itself]
        shown = (own or [n for n in self.networks if n.differs])[: _SHOWN if own else _FARTHEST]
        if shown:
            columns = (
                Column("network", "network"), Column(f"A, {of.unit}", "a", of.format),
                Column(f"B, {of.unit}", "b", of.format), *_NETWORK_COLUMNS,
            )  # fmt: skip
            title = (
                f"networks that differ from the common ratio ({len(shown)} of {len(own)} shown):"
            )
            if not own:
                title = f"none differs from the common ratio; the {len(shown)} farthest:"
            yield Table(columns, shown, title)

    def _summary(self, of: Quantity) -> str:
        low, high = self.ratio_lower, self.ratio_upper
        reach = "" if low is None else f" ({low:.3f} to {high:.3f})"
        more = f", reference network {self.reference_ratio:.3f}" if self.reference_ratio else ""
        tested = "no network's scatter is known, none is tested"
        if self.tested:
            tested = (
                f"of {self.tested} tested, {self.differing} differ, {self.differing_by_themselves} "
                f"of them from the common ratio (at most {100 * self.false_share:.0f} % by chance)"
            )
        return (
            f"{counted(self.compared, 'network')} in both ({self.only_a} in A alone, "
            f"{self.only_b} in B alone); {of.label} B/A {self.ratio:.3f}{reach}, of four in five "
            f"between {self.ratio_low:.3f} and {self.ratio_high:.3f}{more}\n{tested}"
        )


_CONDITION_COLUMNS = (
    Column("condition", "condition"), Column("A", "a"), Column("B", "b"),
    Column("what it does", "effect"),
)  # fmt: skip
_FAMILY_COLUMNS = (
    Column("family", "family"), Column("networks", "networks"), Column("B/A", "ratio", ".3f"),
    Column("10 %", "ratio_low", ".3f"), Column("90 %", "ratio_high", ".3f"),
    Column("differ from the common ratio", "differing_by_themselves"),
)  # fmt: skip
_NETWORK_COLUMNS = (
    Column("B/A", "ratio", ".3f"), Column("±", "standard_error", ".3f"),
    Column("q", "q_value", ".1e"), Column("over common", "specific_ratio", ".3f"),
    Column("q", "specific_q_value", ".1e"),
)  # fmt: skip


def compare(
    a: Side,
    b: Side,
    *,
    false_share: float = FALSE_SHARE,
    names: tuple[str | None, str | None] = (None, None),
) -> Comparison:
    """Compare two datasets, or a forecast and a dataset, and the conditions that differ.

    Args:
        a: a dataset or its file; or a predictor, its file, a shipped model, a device or a target,
            which forecasts the other side's networks.
        b: likewise; one of the two must be a dataset.
        false_share: of false ones among the networks that are said to differ, on average.
        names: what the record calls the sides; by default their files, or their targets.

    Raises:
        ValueError: both are forecasts, the quantities differ, a value is not positive, or they
            have no network in common.
        FileNotFoundError: there is no such file.
    """
    if not 0 < false_share < 1:
        raise ValueError(f"false_share must be between 0 and 1; got {false_share}")
    sides, kinds, told = _datasets(a, b)
    first, second = (side.distinct() for side in sides)
    for data in (first, second):
        data.check_quantity(sides[1].quantity)
        data.check_values()
    if first.quantity.min_value <= 0:
        raise ValueError(f"values must be positive to be compared; {first.quantity.name} may be 0")
    rows = _matched(first, second)
    found = _tested(first[rows[:, 0]], second[rows[:, 1]], kinds, false_share)
    interval = median_interval(found.log)
    low, high = (_known(np.exp(end)) if np.isfinite(end) else None for end in interval)
    stated = [_number(side.provenance.get(REFERENCE_LEVEL)) for side in (first, second)]
    reference = None if None in stated else stated[1] / stated[0]  # type: ignore[operator]
    networks = _networks((first, second), sides, rows, found)
    only = ("forecast" not in kinds[:1], "forecast" not in kinds[1:])
    low_ratio, high_ratio = np.exp(np.quantile(found.log, (0.1, 0.9))).tolist()
    record = Comparison(
        _name(a, sides[0], names[0]), _name(b, sides[1], names[1]), kinds, first.quantity.name,
        len(rows), (len(first) - len(rows)) * only[0], (len(second) - len(rows)) * only[1],
        float(np.exp(found.common)), low, high, reference, int(np.isfinite(found.error).sum()),
        false_share, int(found.differs.sum()), int(found.specific_differs.sum()), networks,
        conditions(first, second), (), low_ratio, high_ratio,
        _families(second, rows, found),
    )  # fmt: skip
    return replace(record, notes=(*told, *_notes(record, sides)))


def _datasets(a: Side, b: Side) -> tuple[tuple[Dataset, Dataset], tuple[str, str], list[str]]:
    """Both sides as datasets, the forecast of one being of the other's networks; and notes."""
    known = Dataset | Predictor | str | Path
    if frames := [x for x in (a, b) if not isinstance(x, known)]:
        raise ValueError(
            f"a side must be a dataset, a model or a file; got {type(frames[0]).__name__}: a "
            "frame is read first, by latcast.read(frame, space=…, target=…)"
        )
    loaded = [read(x) if isinstance(x, str | Path) and is_dataset(x) else x for x in (a, b)]
    measured = [side for side in loaded if isinstance(side, Dataset)]
    if not measured:
        raise ValueError(
            f"one of the two must be a dataset ({', '.join(_suffixes())}); got {a} and {b}: "
            "forecasts are compared by latcast predict --device A --device B"
        )
    sides, notes = [], []
    for side in loaded:
        if not isinstance(side, Dataset):
            model, told = _predictor(side, measured[0])
            notes += told
        sides.append(side if isinstance(side, Dataset) else _forecast(model, measured[0]))
    first, second = ("measured" if isinstance(x, Dataset) else "forecast" for x in loaded)
    return (sides[0], sides[1]), (first, second), notes


def is_dataset(name: str | Path) -> bool:
    """Whether a name is that of a dataset's file, or ``-``, rather than of what forecasts."""
    return str(name) == "-" or Path(name).suffix.lower() in _suffixes()


def _suffixes() -> list[str]:
    return list(dict.fromkeys(s for each in FORMATS.values() for s in each.suffixes))


def _predictor(model: Predictor | str | Path, data: Dataset) -> tuple[Predictor, list[str]]:
    """Return the predictor for a dataset's networks, and the notes on it.

    A device is asked for the dataset's target on it, a whole target for itself.
    """
    if isinstance(model, Predictor):
        return model, []
    if is_file(model):
        return load_with_data(model, lambda: data, scored=True)[0], []
    of = data.target
    query = TargetQuery(of.runtime, of.batch, of.precision, of.threads or None)
    found = resolve_one(
        model, None if "/" in str(model) else query,
        role="networks" if data.space is None else "space", space=data.space,
    )  # fmt: skip
    return found.predictor, found.notes


def _forecast(model: Predictor, data: Dataset) -> Dataset:
    """Return a model's predictions for a dataset's networks, their deviations as the scatter."""
    data = data.distinct()
    values = model.predict(data.networks)
    deviation = None
    if model.covers(_COVERAGE):
        lower, upper = model.predict_interval(data.networks, _COVERAGE)
        # An interval may reach down to 0, whose logarithm says nothing.
        deviation = np.log(np.maximum(upper / values, values / np.maximum(lower, values / 1e3)))
        deviation = np.maximum(deviation, 1e-9) / _Z90
    card = model.card.get("data", {})
    facts = card[0] if isinstance(card, list) and len(card) == 1 else card
    return replace(
        data, values=values, target=model.target, quantity=model.fitted.quantity,
        standard_error=deviation, samples=None, uncorrected=None, reference=None, layers=None,
        provenance={k: str(v) for k, v in facts.items()} if isinstance(facts, Mapping) else {},
    )  # fmt: skip


def _matched(a: Dataset, b: Dataset) -> npt.NDArray[np.intp]:
    """Rows in A and in B of the networks that both have, shape (n, 2), in the order of B."""
    if a.subject != b.subject or (a.space and b.space and a.space.name != b.space.name):
        kinds = [f"{d.subject}s of {d.space.name}" if d.space else "networks" for d in (a, b)]
        raise ValueError(
            f"both must be of the same kind of networks; got {kinds[0]} and {kinds[1]}"
        )
    rows = {key: n for n, key in enumerate(_keys(a))}
    found = [(rows[key], n) for n, key in enumerate(_keys(b)) if key in rows]
    if not found:
        raise ValueError(
            "they must have networks in common; none is in both: measure those of one with "
            "--archs or --models, or with the same --seed"
        )
    return np.array(found)


def _keys(data: Dataset) -> Sequence[Any]:
    """Return the keys of networks; batches, which are a condition, may differ."""
    if isinstance(data.networks, tuple):
        return [
            (name, len(graph), graph.macs // data.target.batch)
            for name, graph in zip(data.names, data.networks, strict=True)
        ]
    return [genes.tobytes() for genes in data.networks.genes]


# --- the tests ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tested:
    """Logarithms of B over A, tested.

    Attributes:
        log: shape (n,).
        error: standard error of each, shape (n,); NaN: unknown.
        common: their median.
        q, specific_q: of both tests, shape (n,); NaN: not tested.
        differs, specific_differs: what the tests say, shape (n,).
    """

    log: Floats
    error: Floats
    common: float
    q: Floats
    specific_q: Floats
    differs: npt.NDArray[np.bool_]
    specific_differs: npt.NDArray[np.bool_]


def _tested(a: Dataset, b: Dataset, kinds: tuple[str, str], false_share: float) -> _Tested:
    log = np.log(b.values / a.values)
    variances = [_variance(side) for side in (a, b)]
    free = [_FREEDOM if kind == "measured" else np.inf for kind in kinds]
    total = variances[0] + variances[1]
    error = np.sqrt(total)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Welch and Satterthwaite: degrees of freedom of a sum of estimated variances.
        freedom = total**2 / sum(v**2 / f for v, f in zip(variances, free, strict=True))
    common = float(np.median(log))
    q = _q_values(log, error, freedom)
    specific = _q_values(log - common, error, freedom) if len(log) > 2 else np.full(len(log), 1.0)
    return _Tested(log, error, common, q, specific, q <= false_share, specific <= false_share)


def _variance(data: Dataset) -> Floats:
    """Squared relative standard error of every value; NaN where it is not known."""
    if data.standard_error is None:
        return np.full(len(data), np.nan)
    # Samples are kept to five digits: no median is known better than that.
    return np.asarray(np.maximum(data.standard_error, 1e-5) ** 2)


def _q_values(log: Floats, error: Floats, freedom: Floats) -> Floats:
    """Benjamini and Hochberg's q of two-sided t tests, shape (n,); NaN: not tested."""
    from scipy.stats import false_discovery_control, norm, t

    q = np.full(len(log), np.nan)
    known = np.isfinite(error)
    if known.any():
        size, free = np.abs(log[known]) / error[known], freedom[known]
        p = np.where(np.isfinite(free), t.sf(size, np.where(np.isfinite(free), free, 1.0)),
                     norm.sf(size))  # fmt: skip
        q[known] = false_discovery_control(np.minimum(2 * p, 1.0))
    return q


def _networks(
    distinct: tuple[Dataset, Dataset],
    sides: tuple[Dataset, Dataset],
    rows: npt.NDArray[np.intp],
    found: _Tested,
) -> tuple[ComparedNetwork, ...]:
    a, b = distinct
    firsts = [_first_rows(side) for side in sides]
    order = np.lexsort((-np.abs(found.log - found.common), np.nan_to_num(found.specific_q, nan=2)))
    networks = []
    for n in order.tolist():
        i, j = rows[n].tolist()
        first, second = firsts[0][i], firsts[1][j]
        networks.append(
            ComparedNetwork(
                b.names[j] if b.names else f"row {second}", first, second, float(a.values[i]),
                float(b.values[j]), float(np.exp(found.log[n])), _known(found.error[n]),
                _known(found.q[n]), bool(found.differs[n]),
                float(np.exp(found.log[n] - found.common)), _known(found.specific_q[n]),
                bool(found.specific_differs[n]),
            )
        )  # fmt: skip
    return tuple(networks)


def _families(
    data: Dataset, rows: npt.NDArray[np.intp], found: _Tested
) -> tuple[ComparedFamily, ...]:
    """Ratios by family, the farthest from the common one first."""
    if not data.families:
        return ()
    of = np.array([data.families[n] or "files" for n in rows[:, 1].tolist()])
    told = []
    for family in dict.fromkeys(of.tolist()):
        own = of == family
        low, middle, high = np.exp(np.quantile(found.log[own], (0.1, 0.5, 0.9))).tolist()
        count = int(found.specific_differs[own].sum())
        told.append(ComparedFamily(family, int(own.sum()), middle, low, high, count))
    return tuple(sorted(told, key=lambda f: -abs(np.log(f.ratio) - found.common)))


def _first_rows(data: Dataset) -> list[int]:
    """The first row of every distinct network, in the order of :meth:`Dataset.distinct`."""
    return sorted(np.unique(data.unique_index(), return_index=True)[1].tolist())


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _number(text: str | None) -> float | None:
    match = re.match(r"[0-9.eE+-]+", text or "")
    try:
        value = float(match[0]) if match else 0.0
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


# --- what is said of it -------------------------------------------------------------------------


def _name(given: Side, data: Dataset, name: str | None) -> str:
    if name is not None:
        return name
    return str(given) if isinstance(given, str | Path) else str(data.target)


def _short(name: str) -> str:
    """A file without its folder; a target as it is."""
    return Path(name).name if Path(name).suffix else name


def _notes(found: Comparison, sides: tuple[Dataset, Dataset]) -> Iterator[str]:
    for name, kind, side in zip("AB", found.kinds, sides, strict=True):
        if side.standard_error is None:
            what = "interval" if kind == "forecast" else "runs' scatter"
            yield f"{name} does not state its {what}: no network can be said to differ"
        elif (unknown := int((~np.isfinite(side.standard_error)).sum())) and kind == "measured":
            yield (
                f"{unknown} values of {name} are of a machine that other programs kept busy: "
                "nothing is known of their scatter, and they are not tested"
            )
    if (reference := found.reference_ratio) is not None:
        common, own = np.log(found.ratio), np.log(reference)
        if abs(common) > 0.01 and own / common > _LIKELY_CAUSE:
            yield (
                f"the reference network explains {100 * min(own / common, 1.0):.0f} % of the "
                "common ratio: "
                "the machine's state differs; measure again with --correct-to to take it out"
            )
    unstated = [c.condition for c in found.conditions if c.differs is None]
    if unstated:
        yield f"stated by one side alone: {', '.join(unstated[:8])}" + (
            f" and {len(unstated) - 8} more" if len(unstated) > 8 else ""
        )
    stated = {c.condition for c in found.conditions}
    if silent := [name for name in EXPECTED if name not in stated]:
        yield f"neither states {', '.join(silent)}: whether they differ is not known"
