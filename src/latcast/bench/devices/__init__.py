"""Any network on any device: public tables with networks, devices or both left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latcast._names import unknown_name
from latcast.bench.protocol import Report
from latcast.bench.tables import Scores

from .assembly import Assembled, assemble
from .baselines import BASELINES
from .held_out import CONFIRMING, PARTS, part_of, told
from .methods import Method
from .ours import CalibratedJoint, Joint
from .protocols import PROTOCOLS, Asked, cross_validation, forecasts, second_folder, too_few
from .scoring import Forecasts, Kind, Rules, calibrated, collected, precision_rows, score_rows

__all__ = ["METHODS", "PROTOCOLS", "SAMPLES", "Plan", "run"]

SAMPLES = (0, 1, 3, 5, 10)
"""Networks of a device that are measured."""
MORE_SAMPLES = {"timm": (20,)}
"""Those of a table with more networks, where no others are asked for."""


METHODS: dict[str, Callable[[], Method]] = {"latcast": Joint, **BASELINES}
"""Name of a method -> what makes it."""


# The method that a target must not be forecast worse than by.
_FITTED = "macs-bytes-constant"


@dataclass(frozen=True)
class Plan:
    """The tables, protocols and methods that are scored, and the numbers of measured networks.

    Attributes:
        data: folder of the public tables; groups of it are left out by turns.
        test: folder of the same layout that is scored and never learnt from.
        tables: names of those that are wanted; all by default.
        samples: numbers of measured networks of a device; by default :data:`SAMPLES`, and
            :data:`MORE_SAMPLES`.
        methods: keys of :data:`METHODS`; all by default.
        protocols: some of :data:`PROTOCOLS`.
        seeds: draws of the measured networks of a target; by default
            three, or ten where they are few or of the test folder.
        seed: of folds and draws.
        held_out: part of the chips (:mod:`.held_out`) that is scored: ``choosing`` by turns, the
            ``confirming`` ones after learning from all others; all by turns by default.
    """

    data: Path
    test: Path | None = None
    tables: tuple[str, ...] = ()
    samples: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    protocols: tuple[str, ...] = PROTOCOLS
    seeds: int | None = None
    seed: int = 0
    held_out: str | None = None

    def __post_init__(self) -> None:
        if self.held_out is not None and self.test is not None:
            raise ValueError("a test folder and held-out chips exclude each other; got both")
        if self.samples and min(self.samples) < 0:
            raise ValueError(f"samples must be at least 0; got {list(self.samples)}")
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"seeds must be at least 1; got {self.seeds}")
        for kind, asked, known in (
            ("method", self.methods, METHODS), ("protocol", self.protocols, PROTOCOLS),
            ("part of the chips", [self.held_out or PARTS[0]], PARTS),
        ):  # fmt: skip
            for name in asked:
                if name not in known:
                    raise ValueError(unknown_name(kind, name, list(known)))

    def samples_of(self, table: str) -> tuple[int, ...]:
        """Numbers of measured networks in a table."""
        return tuple(dict.fromkeys(self.samples or (*SAMPLES, *MORE_SAMPLES.get(table, ()))))


def run(plan: Plan, *, report: Report = lambda _: None) -> Scores:
    """Score the methods on the tables.

    Returns:
        One row for each table, protocol, setting, number of samples and method (docs/bench.md):
        of the test folder where there is one, else of the groups that are left out by turns.

    Raises:
        ValueError, FileNotFoundError: a folder lacks its tables, or all are damaged.
    """
    case = assemble(plan.data, plan.test, plan.tables)
    for note in case.notes:
        report(note)
    if plan.held_out is not None:
        case = part_of(case, plan.held_out)
        report(told(plan.held_out))
    methods: dict[str, Callable[[], Method]] = {
        name: METHODS[name] for name in plan.methods or METHODS
    }
    if plan.test is None and plan.held_out != CONFIRMING:
        validated = _validated(case, plan, methods, report)
        return Scores("devices", _rows(case, validated, validated, methods))
    if not case.is_test.any():
        raise ValueError(f"{plan.test} must hold rows of the tables; none is left (see above)")
    ours = CalibratedJoint()
    if "latcast" in methods:
        # It is fitted once, and what it knows of its own errors is asked for afterwards.
        methods["latcast"] = lambda: ours
    for line in too_few(case, _asked(plan)):
        report(line)
    scoring = second_folder(case, _asked(plan))
    tested = collected(forecasts(case, scoring, methods, report))
    # Intervals of the others are as wide as cross-validation in the first folder asks for.
    plain = {name: make for name, make in methods.items() if not make().is_calibrated}
    validated = _validated(case, plan, plain, report)
    return Scores("devices", _rows(case, tested, validated, methods, ours.faster))


def _asked(plan: Plan) -> Asked:
    return Asked(plan.samples_of, plan.protocols, plan.seeds, plan.seed)


def _validated(
    case: Assembled,
    plan: Plan,
    methods: Mapping[str, Callable[[], Method]],
    report: Report,
) -> dict[Kind, Forecasts]:
    if not methods:
        return {}
    return collected(
        outcome
        for scoring in cross_validation(case, _asked(plan))
        for outcome in forecasts(case, scoring, methods, report)
    )


def _rows(
    case: Assembled,
    found: Mapping[Kind, Forecasts],
    validated: Mapping[Kind, Forecasts],
    methods: Mapping[str, Callable[[], Method]],
    own_rules: Rules | None = None,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for kind, own in found.items():
        if not len(own):
            continue
        on = validated.get(kind, own)
        ours = own if methods[kind[0]]().is_calibrated else calibrated(case, kind[1], own, on)
        beside = found.get((_FITTED, *kind[1:])) if kind[0] != _FITTED else None
        rows += score_rows(case, kind, ours, beside)
        rules = own_rules if methods[kind[0]]().is_calibrated else None
        rows += precision_rows(case, kind, ours, on, rules)
    order = list(methods)
    return sorted(
        rows,
        key=lambda r: (
            r["table"], PROTOCOLS.index(r["protocol"]), r["setting"], r["samples"],
            order.index(r["method"]),
        ),
    )  # fmt: skip
