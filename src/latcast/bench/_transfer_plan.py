"""Which targets a base model is trained on, and which are predicted from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from latcast._names import unknown_name

from ._few_shot import NONE, check_options
from ._help_folder import FOLDERS, HelpFolder
from ._published import SPLITS, Split


@dataclass(frozen=True)
class Plan:
    """What is trained on and scored.

    Attributes:
        folder: of the latencies.
        groups: names of targets of a base model, and of those that are predicted from it.
        samples: numbers of measurements of a test target.
        selections: some of ``random`` and ``suggest``.
        seeds: choices of the samples.
        base_samples: rows of every train target; None for what suits the space.
        ceiling: whether targets are also predicted from nearly all of their own latencies.
    """

    folder: HelpFolder
    groups: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    samples: tuple[int, ...] = (10, 20)
    selections: tuple[str, ...] = ("random",)
    seeds: int = 20
    base_samples: int | None = None
    ceiling: bool = False

    def __post_init__(self) -> None:
        check_options(self.samples, self.selections, self.seeds)

    def choices(self) -> Iterator[tuple[int, str]]:
        """Every number of samples with every way to choose them."""
        for samples in self.samples:
            for selection in self.selections if samples else (NONE,):
                yield samples, selection


def plan(
    data: Path,
    space: str | None = None,
    *,
    train: Sequence[str] = (),
    test: Sequence[str] = (),
    published_split: str | None = None,
    leave_one_out: bool = False,
    samples: Sequence[int] = (10, 20),
    selections: Sequence[str] = ("random",),
    seeds: int = 20,
    base_samples: int | None = None,
    ceiling: bool = False,
) -> Plan:
    """Decide what is trained on and scored.

    Args:
        data: folder of HELP's format, or one that holds such folders.
        space: which of them.
        train: targets of the base model; all but the test targets by default.
        test: targets to predict; with ``leave_one_out`` all by default.
        published_split: a key of :data:`SPLITS`, in place of ``train`` and ``test``.
        leave_one_out: predict every test target from a base model of all other targets.
        samples: numbers of measurements of a test target; 0 predicts without any.
        selections: some of ``random`` and ``suggest``.
        seeds: choices of the samples.
        base_samples: rows of every train target, as far as it has them.
        ceiling: also fit the default predictor on 90 % of a target's own rows.

    Raises:
        ValueError: a folder, target or split that does not exist, a target on both sides, or
            options that exclude each other.
    """
    folder = HelpFolder.find(data, space)
    if published_split is not None:
        if train or test or leave_one_out:
            raise ValueError("a published split names its targets: leave out train and test")
        found = _published_split(published_split, folder)
        train, test = found.train, found.test
    train, test = folder.check(train), folder.check(test)
    groups: list[tuple[tuple[str, ...], tuple[str, ...]]]
    if leave_one_out:
        if train:
            raise ValueError("leave-one-out trains on all other targets: leave out train")
        groups = [(_others(folder, [name]), (name,)) for name in test or folder.names]
    else:
        groups = [(_train(folder, train, test), test)]
    for names, _ in groups:
        if len(names) < 2:
            raise ValueError(
                f"a base model needs at least two train targets; got {', '.join(names) or 'none'}"
            )
    return Plan(
        folder, tuple(groups), tuple(dict.fromkeys(samples)), tuple(dict.fromkeys(selections)),
        seeds, base_samples, ceiling,
    )  # fmt: skip


def _published_split(name: str, folder: HelpFolder) -> Split:
    if name not in SPLITS:
        raise ValueError(unknown_name("published split", name, list(SPLITS)))
    for found in SPLITS[name].values():
        if set(found.train + found.test) <= set(folder.names):
            return found
    spaces = ", ".join(f"{s} ({FOLDERS[s]})" for s in SPLITS[name])
    raise ValueError(f"the split {name!r} is of targets of {spaces}; {folder.path} lacks some")


def _train(folder: HelpFolder, train: tuple[str, ...], test: tuple[str, ...]) -> tuple[str, ...]:
    if not test:
        raise ValueError("name the test targets, or leave one target out after the other")
    if both := [name for name in train if name in test]:
        raise ValueError(f"a test target must not be trained on; got {both[0]} on both sides")
    return train or _others(folder, test)


def _others(folder: HelpFolder, test: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in folder.names if name not in test)
