"""Who sees what: groups that are left out, networks that are measured, rows that are scored.

Three protocols: the *network* is new (its family is left out everywhere, the device is known), the
*device* is new (all targets of its chip are left out everywhere, k of its networks are measured),
or *both*. The first folder is scored by cross-validation; of a second one, which nothing is
learnt from, every row is classed by whether its device and its network occur in the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latcast.math.folds import folds_of
from latcast.networks import Networks
from latcast.report.markup import counted

from .assembly import Assembled
from .methods import Forecast, Method

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]
Report = Callable[[str], None]
Samples = Callable[[str], Sequence[int]]
"""Name of a table -> numbers of measured networks."""

NETWORK, DEVICE, BOTH = PROTOCOLS = ("network", "device", "both")

# Groups leave together in so many folds, not one by one: of some 90 chips and 250 families every
# one would be a fit.
CHIP_FOLDS = 6
FAMILY_FOLDS = 4
# Draws of the measured networks of a target; fewer where there are many targets to draw for.
FEW_TARGETS, MANY_DRAWS, FEW_DRAWS = 40, 10, 3
# With fewer networks left there is nothing to score.
MIN_SCORED = 1
# Parts of tables whose networks do not leave by family: operators that nobody leaves out.
_WITHOUT_FAMILIES = ("operators",)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Forecasts of some rows by one method, from one draw of what was measured.

    Attributes:
        method: name.
        protocol: one of :data:`PROTOCOLS`.
        samples: networks of the target that were measured.
        target: place in the targets.
        fold: of the groups that were left out; -1 of the second folder.
        rows: of the observations, (s,).
        forecast: of these rows.
    """

    method: str
    protocol: str
    samples: int
    target: int
    fold: int
    rows: Numbers
    forecast: Forecast


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Rows of one target that are measured, and rows that are scored."""

    protocol: str
    samples: int
    target: int
    measured: Numbers
    scored: Numbers


@dataclass(frozen=True, eq=False)
class Scoring:
    """One fit of every method: what is learnt from, and what is asked then."""

    fold: int
    train: Bools
    draws: tuple[_Drawn, ...]


@dataclass(frozen=True)
class Asked:
    """The options of a benchmark: protocols, numbers of measured networks, and seeds.

    Attributes:
        samples: name of a table -> numbers of measured networks.
        protocols: some of :data:`PROTOCOLS`.
        seeds: draws of the measured networks of a target; None for as many as suit.
        seed: of folds and draws.
    """

    samples: Samples
    protocols: Sequence[str]
    seeds: int | None
    seed: int

    def draws(self, targets: int, *, is_test: bool) -> int:
        """Draws for each of so many targets."""
        if self.seeds is not None:
            return self.seeds
        return MANY_DRAWS if is_test or targets < FEW_TARGETS else FEW_DRAWS


def cross_validation(case: Assembled, asked: Asked) -> Iterator[Scoring]:
    """The fits that leave out groups of the first folder."""
    own = ~case.is_test
    leaves = ~np.isin([case.parts[t].pool for t in case.data.target], _WITHOUT_FAMILIES)
    chip_fold = _row_folds(case, case.data.chips, own, CHIP_FOLDS, asked.seed)
    families = case.data.measured_families
    family_fold = _row_folds(case, families, own & leaves, FAMILY_FOLDS, asked.seed + 1)
    # A chip leaves all tables, and is scored in those that have another to learn from.
    scored = _of_several_chips(case)
    rng = np.random.default_rng(asked.seed)
    if DEVICE in asked.protocols:
        for c in range(CHIP_FOLDS):
            out = own & (chip_fold == c)
            draws = _device_draws(case, out & scored, asked, rng, None)
            yield Scoring(c, own & ~out, tuple(draws))
    if NETWORK in asked.protocols:
        for f in range(FAMILY_FOLDS):
            out = own & (family_fold == f)
            yield Scoring(f, own & ~out, tuple(_network_draws(case, out, own & ~out)))
    if BOTH in asked.protocols:
        # Every fold of chips with two of the four folds of families: twelve fits, not 24.
        for c in range(CHIP_FOLDS):
            for f in range(c % 2, FAMILY_FOLDS, 2):
                chip, family = own & (chip_fold == c), own & (family_fold == f)
                draws = _device_draws(case, chip & scored, asked, rng, family)
                yield Scoring(c, own & ~chip & ~family, tuple(draws))


def second_folder(case: Assembled, asked: Asked) -> Scoring:
    """The fit on all of the first folder that scores the second."""
    known_chips = np.isin(case.data.chips, case.data.chips[~case.is_test])
    identities = case.row_identities
    is_new = ~np.isin(identities, identities[~case.is_test])
    rng = np.random.default_rng(asked.seed)
    network = case.is_test & known_chips & is_new
    device = case.is_test & ~known_chips
    draws = (
        *_network_draws(case, network, ~case.is_test),
        *_device_draws(case, device, asked, rng, None, is_new),
    )
    return Scoring(-1, ~case.is_test, tuple(d for d in draws if d.protocol in asked.protocols))


def too_few(case: Assembled, asked: Asked) -> Iterator[str]:
    """Targets of new devices that have no rows left to score after so many are measured."""
    out = case.is_test & ~np.isin(case.data.chips, case.data.chips[~case.is_test])
    counts = np.bincount(case.data.target[out], minlength=len(case.parts))
    samples = [asked.samples(part.table) for part in case.parts]
    for k in sorted({k for own in samples for k in own}):
        few = [
            case.data.targets[t].name
            for t in np.flatnonzero((counts > 0) & (counts < k + 1)).tolist()
            if k in samples[t]
        ]
        if few:
            yield (
                f"left out at {counted(k, 'sample')}: {counted(len(few), 'target')} of fewer than "
                f"{k + 1} rows, such as {few[0]}"
            )


def _of_several_chips(case: Assembled) -> Bools:
    """Rows of tables that have another device to learn from, (m,)."""
    tables = case.tables
    own, chips = tables[~case.is_test], case.data.chips[~case.is_test]
    several = [name for name in np.unique(own) if len(np.unique(chips[own == name])) > 1]
    return np.isin(tables, several)


def _row_folds(
    case: Assembled, groups: npt.NDArray[np.str_], rows: Bools, count: int, seed: int
) -> Numbers:
    """Fold of every row's group, (m,); -1 of rows that never leave."""
    tables = case.tables
    by_table = {
        str(t): groups[rows & (tables == t)].tolist() for t in np.unique(tables[rows])
    }  # fmt: skip
    fold = folds_of(by_table, count, seed)
    places = np.array([fold.get(name, -1) for name in groups.tolist()], dtype=np.intp)
    return np.where(rows, places, -1)


def _network_draws(case: Assembled, out: Bools, known: Bools) -> Iterator[_Drawn]:
    """Rows that are left out, by target; all that is known of the target is measured."""
    for target in np.unique(case.data.target[out]).tolist():
        own = case.data.target == target
        yield _Drawn(NETWORK, 0, target, np.flatnonzero(own & known), np.flatnonzero(own & out))


def _device_draws(
    case: Assembled,
    out: Bools,
    asked: Asked,
    rng: np.random.Generator,
    family: Bools | None,
    is_new: Bools | None = None,
) -> Iterator[_Drawn]:
    """Draws of k networks of every target that is left out, and what is then scored.

    Args:
        case: the observations.
        out: rows of the devices that are left out.
        asked: numbers of measured networks, and of draws.
        rng: draws them.
        family: rows of families that are left out too, which alone are scored then.
        is_new: of the second folder, whether the network is new: scored as *both*.
    """
    targets = np.unique(case.data.target[out]).tolist()
    draws = asked.draws(len(targets), is_test=is_new is not None)
    for target in targets:
        rows = np.flatnonzero(out & (case.data.target == target))
        hidden = (
            np.zeros(len(rows), dtype=np.bool_)
            if (apart := family if family is not None else is_new) is None
            else apart[rows]
        )
        for k in asked.samples(case.parts[target].table):
            for _ in range(draws if k else 1):
                # Of known networks as far as there are enough: the new ones are to be scored.
                order = np.concatenate(
                    [rng.permutation(rows[~hidden]), rng.permutation(rows[hidden])]
                )
                if family is not None and k > int((~hidden).sum()):
                    continue
                measured, rest = order[:k], np.sort(order[k:])
                for protocol, scored in _classed(rest, family, is_new):
                    if len(scored) >= MIN_SCORED:
                        yield _Drawn(protocol, k, target, measured, scored)


def _classed(
    rest: Numbers, family: Bools | None, is_new: Bools | None
) -> Iterator[tuple[str, Numbers]]:
    if family is not None:
        yield BOTH, rest[family[rest]]
    elif is_new is not None:
        yield DEVICE, rest[~is_new[rest]]
        yield BOTH, rest[is_new[rest]]
    else:
        yield DEVICE, rest


def forecasts(
    case: Assembled, scoring: Scoring, methods: Mapping[str, Callable[[], Method]], report: Report
) -> Iterator[Outcome]:
    """Fit every method once, and ask it for every draw."""
    train = case.data.select(scoring.train)
    asked = list(_asked(case, scoring.draws))
    if not asked:  # a table of one device has no other to learn of
        return
    if not len(train):
        report(f"fold {scoring.fold}: nothing is left to learn of, so that it is not scored")
        return
    for name, make in methods.items():
        report(
            f"fold {scoring.fold}: {name} on {counted(len(train), 'row')}, "
            f"{counted(len(asked), 'question')}"
        )
        method = make()
        method.fit(train)
        for draw, of_target, places in asked:
            target, measured = case.data.targets[draw.target], case.data.select(draw.measured)
            found = method.predict(target, measured, of_target.networks, of_target.names)
            some = Forecast(*(values[places] for values in found))
            yield Outcome(
                name, draw.protocol, draw.samples, draw.target, scoring.fold, draw.scored, some
            )


class _OfTarget(NamedTuple):
    """Networks of one target: one object for all draws, so that a method can keep what it makes."""

    networks: Networks
    names: tuple[str, ...]


def _asked(case: Assembled, draws: Sequence[_Drawn]) -> Iterator[tuple[_Drawn, _OfTarget, Numbers]]:
    """Every draw, the networks of its target, and the scored rows' places among them."""
    for _, own in groupby(draws, key=lambda draw: draw.target):
        some = list(own)
        numbers = np.unique(case.data.network[np.concatenate([d.scored for d in some])])
        names = tuple(case.data.names[n] for n in numbers.tolist())
        of_target = _OfTarget(case.data.networks.select(numbers), names)
        for draw in some:
            yield draw, of_target, np.searchsorted(numbers, case.data.network[draw.scored])
