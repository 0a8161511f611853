"""Tables of architectures and accuracies: CSV files of the user's own, and HELP's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from latcast._files import check_file
from latcast._names import short_repr
from latcast.data._csv import float_column, read_csv
from latcast.data.user_csv import architectures
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from ._base import Floats
from ._checks import checked_accuracies

if TYPE_CHECKING:
    import polars as pl

UNITS = ("fraction", "percent")
COLUMN = "accuracy"
PERCENT_COLUMN = "accuracy_percent"
_HELP_SPACE = "nasbench201"


@dataclass(frozen=True, eq=False)
class AccuracyData:
    """Architectures and what they reach; one can occur several times.

    Attributes:
        archs: n architectures.
        accuracy: top-1 from 0 to 1, shape (n,).
        unit: in which the file has them, fraction or percent.
        provenance: source and licence.
    """

    archs: Archs
    accuracy: Floats
    unit: str
    provenance: dict[str, str]

    def __len__(self) -> int:
        return len(self.archs)

    def __getitem__(self, rows: npt.NDArray[np.bool_]) -> AccuracyData:
        """The rows of a mask (n,)."""
        return AccuracyData(self.archs[rows], self.accuracy[rows], self.unit, self.provenance)

    def split(self, test: float, seed: int) -> tuple[AccuracyData, AccuracyData]:
        """Two parts at random by architecture, of which the second has a share of ``test``.

        Raises:
            ValueError: ``test`` is not between 0 and 1, or a part would be empty.
        """
        if not 0 < test < 1:
            raise ValueError(f"the share to test on must be between 0 and 1; got {test}")
        group = self.archs.unique_index()
        groups = int(group.max(initial=-1)) + 1
        tested = round(test * groups)
        if not 0 < tested < groups:
            raise ValueError(
                f"both parts need an architecture; {groups} distinct ones cannot be split at {test}"
            )
        chosen = np.zeros(groups, dtype=np.bool_)
        chosen[np.random.default_rng(seed).permutation(groups)[:tested]] = True
        return self[~chosen[group]], self[chosen[group]]


def resolutions_of(archs: Archs) -> tuple[int, ...] | None:
    """The resolutions that occur, ascending; None in a space without."""
    names = [g.name for g in archs.space.genes]
    if "r" not in names:
        return None
    return tuple(np.unique(archs.genes[:, names.index("r")]).tolist())


def read_accuracies(
    path: str | Path, space: SearchSpace | str | None = None, *, unit: str | None = None
) -> AccuracyData:
    """Read a table.

    A CSV file has a column ``accuracy`` or ``accuracy_percent``; the architecture is in a column
    ``arch``, in the space's own form, or in one column per gene. The lists of HELP's NAS-Bench-201
    architectures (``arch_generated_by_metad2a.txt``) are recognized.

    Args:
        path: the file.
        space: the search space or its name; a HELP list needs none.
        unit: ``fraction`` or ``percent``, of the accuracies. By default they are percent where one
            is above 1 and fractions where none is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the space is not given, a column is missing, a cell is malformed, an accuracy
            is not a number within the unit, or the unit cannot be told.
    """
    path = Path(path)
    check_file(path)
    if unit is not None and unit not in UNITS:
        raise ValueError(f"the unit must be fraction or percent; got {unit!r}")
    the_space = find_space(space) if isinstance(space, str) else space
    if is_help_list(path):
        return _read_help(path, the_space, unit)
    if the_space is None:
        raise ValueError(
            f"{path.name} does not tell its search space: give --space (in Python, space=…)"
        )
    frame = read_csv(path)
    column, unit = _column(path, frame, unit)
    values = float_column(path, frame, column)
    unit, accuracy = _as_fractions(path, values, unit)
    archs = architectures(path, frame, the_space)
    return AccuracyData(archs, accuracy, unit, {"source": path.name, "licence": "unknown"})


def _column(path: Path, frame: pl.DataFrame, unit: str | None) -> tuple[str, str | None]:
    """The column of the accuracies, and their unit as far as it is stated."""
    there = [c for c in (COLUMN, PERCENT_COLUMN) if c in frame.columns]
    if len(there) != 1:
        raise ValueError(
            f"{path} must have one column {COLUMN!r} or {PERCENT_COLUMN!r}; "
            f"it has {', '.join(frame.columns[:8])}"
        )
    if there[0] == COLUMN:
        return COLUMN, unit
    if unit == "fraction":
        raise ValueError(
            f"{path}: the column {PERCENT_COLUMN!r} is in percent; asked for fractions"
        )
    return PERCENT_COLUMN, "percent"


def _as_fractions(path: Path, values: Floats, unit: str | None) -> tuple[str, Floats]:
    """The unit, and accuracies from 0 to 1."""
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).argmax())
        raise ValueError(f"{path.name}, row {row}: {COLUMN} must be finite; got {values[row]}")
    unit = unit or _unit(path, values)
    most = 100.0 if unit == "percent" else 1.0
    wrong = (values < 0.0) | (values > most)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{path.name}, row {row}: {COLUMN} in {unit} must be from 0 to {most:g}; "
            f"got {values[row]:g}"
        )
    return unit, checked_accuracies(values / most, len(values), COLUMN)


def _unit(path: Path, values: Floats) -> str:
    if values.max() <= 1.0:
        return "fraction"
    # A percentage can be below 1, of a network that learned nothing; most of a table's are not.
    if np.median(values) > 1.0:
        return "percent"
    row = int((values > 1.0).argmax())
    raise ValueError(
        f"{path.name}: the accuracies must be fractions or percent, and most are at most 1 but row "
        f"{row} is {values[row]:g}: correct it, or state --unit percent (in Python, unit='percent')"
    )


# -- HELP's list ------------------------------------------------------------------------------


def is_help_list(path: Path) -> bool:
    """Whether a file is a number and then lines of NAS-Bench-201 strings."""
    with path.open("rb") as file:
        lines = file.read(400).splitlines()
    try:
        float(lines[0])
    except (IndexError, ValueError):
        return False
    return len(lines) > 1 and lines[1].startswith(b"|")


def _read_help(path: Path, space: SearchSpace | None, unit: str | None) -> AccuracyData:
    """Lines of ``arch, accuracy in percent, score`` after one with a number."""
    if space is not None and space.name != _HELP_SPACE:
        raise ValueError(
            f"{path.name} holds architectures of {_HELP_SPACE}; asked for {space.name}"
        )
    if unit == "fraction":
        raise ValueError(f"{path.name} is in percent, as HELP's lists are; asked for fractions")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8; got: {error}") from None
    rows = [_help_line(f"{path.name}, row {n}", line) for n, line in enumerate(lines) if line]
    _, accuracy = _as_fractions(path, np.array([value for _, value in rows]), "percent")
    return AccuracyData(
        find_space(_HELP_SPACE).parse([arch for arch, _ in rows]),
        accuracy,
        "percent",
        {"source": f"HELP (HayeonLee/HELP), data/{_HELP_SPACE}/{path.name}", "licence": "MIT"},
    )


def _help_line(where: str, line: str) -> tuple[str, float]:
    parts = [p.strip() for p in line.split(",")]
    try:
        arch, accuracy, _ = parts
        return arch, float(accuracy)
    except ValueError:
        raise ValueError(
            f"{where}: a line must be an architecture, its accuracy in percent and a score; "
            f"got {short_repr(line)}"
        ) from None
