"""Conditions of measurements: what was true of a machine, its runtime and the way of measuring."""

from __future__ import annotations

from dataclasses import dataclass

from latcast.data import Dataset

from ._results import REFERENCE_LEVEL

_TARGET = ("device", "runtime", "batch", "precision", "threads")
# Facts of a campaign that are conditions; all others tell of the data, such as its licence.
_FACTS = (
    "runtime ",
    "machine ",
    "protocol ",
    "clock",
    "drift range",
    "noise of a run",
    REFERENCE_LEVEL,
)
# Of a number -> how far two may be apart and still be called equal: a share, or a difference.
_TOLERANCES = {
    "machine clock, MHz": (0.01, 0.0),
    "machine temperature, °C": (0.0, 5.0),
    REFERENCE_LEVEL: (0.02, 0.0),
    "drift range": (0.0, 2.0),
    "noise of a run": (0.0, 1.0),
}
# What a condition does, and what to do, where it differs: the first that the name begins with.
_EFFECTS = {
    "device": "another machine, or another name for one (--name)",
    "runtime version": "kernels differ from version to version: measure with one",
    "runtime": "another runtime, or another build of it: measure with one",
    "batch": "times are for a whole batch: forecast or measure the same one",
    "precision": "another arithmetic: forecast or measure the same one",
    "threads": "measure with the same --threads",
    "machine governor": "the clock is scaled by load: set performance on both",
    "machine clock": "time goes with 1/clock where compute-bound: fix it on both",
    "machine turbo": "the clock depends on heat and on neighbours: the same on both",
    "machine boost": "the clock depends on heat and on neighbours: the same on both",
    "machine temperature": "a hot machine clocks down: wait, or cool it",
    "machine microcode": "mitigations cost time: update the older one",
    "machine kernel": "the scheduler and mitigations differ: the same on both",
    "machine smt": "two threads of a core share it: the same on both",
    "machine transparent huge pages": "pages of weights differ in size: the same on both",
    "machine cpus": "pinned to other CPUs, which may have other clocks, caches and neighbours",
    "machine cpu": "another processor",
    "clock": "wall time has what passes waited, process time does not: the same --threads",
    "protocol": "measured otherwise",
    REFERENCE_LEVEL: "the machine itself was in another state: latcast measure --correct-to",
    "drift range": "one machine changed more while it was measured: measure it when it is idle",
    "noise of a run": "one machine was less steady: measure it when it is idle",
}

EXPECTED = (
    "threads",
    "runtime version",
    "machine microcode",
    "machine governor",
    "machine clock, MHz",
    "machine temperature, °C",
)
"""Conditions that explain most differences between two machines of one kind."""


@dataclass(frozen=True)
class Condition:
    """A condition of both sides.

    Attributes:
        condition: its name, such as ``machine governor``.
        a: what it was of A; null where A does not state it.
        b: likewise of B.
        differs: whether they do; null where one does not state it.
        effect: what it does and what to do; null where they do not differ.
    """

    condition: str
    a: str | None
    b: str | None
    differs: bool | None
    effect: str | None

    @classmethod
    def of(cls, name: str, a: str | None, b: str | None) -> Condition:
        """A condition as both sides state it."""
        differs = None if a is None or b is None else _differ(name, a, b)
        effect = next((e for start, e in _EFFECTS.items() if name.startswith(start)), None)
        return cls(name, a, b, differs, effect if differs else None)


def _differ(name: str, a: str, b: str) -> bool:
    share, gap = _TOLERANCES.get(name, (0.0, 0.0))
    if not (share or gap):
        return a != b
    try:
        x, y = (float(text.rstrip("%")) for text in (a, b))
    except ValueError:
        return a != b
    return abs(x - y) > gap + share * min(abs(x), abs(y))


def conditions(a: Dataset, b: Dataset) -> tuple[Condition, ...]:
    """All conditions that either of two datasets states, those that differ first."""
    stated = tuple(map(_stated, (a, b)))
    names = dict.fromkeys([*stated[0], *stated[1]])
    found = [Condition.of(name, *(s.get(name) for s in stated)) for name in names]
    return tuple(sorted(found, key=lambda c: {True: 0, None: 1, False: 2}[c.differs]))


def _stated(data: Dataset) -> dict[str, str]:
    """Conditions of a dataset: its target, and facts of its campaign."""
    found = {name: str(getattr(data.target, name)) for name in _TARGET if data.target is not None}
    if found.get("threads") == "0":  # unknown
        del found["threads"]
    facts = dict(data.provenance)
    for setting in facts.pop("protocol", "").split(", "):
        name, _, value = setting.rpartition(" ")
        if name:
            facts[f"protocol {name}"] = value
    return found | {k: v for k, v in facts.items() if k.startswith(_FACTS)}
