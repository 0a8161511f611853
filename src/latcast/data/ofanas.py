"""The CSV files of the OFANAS paper (arXiv:2101.00732): columns ``child_arch`` and ``latency``.

``child_arch`` is an OFA dict as Python prints it; it is parsed as data and never evaluated.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast.devices import Target

from ._csv import float_column, read_csv
from ._dataset import Dataset

if TYPE_CHECKING:
    from latcast.spaces import SearchSpace

    from ._formats import Asked

COLUMNS = ("child_arch", "latency")

_TARGETS = {
    "note10_lookuptable": Target("samsung-note10", "lookup-table"),
    "RTX_2080_Ti_GPU": Target("rtx-2080-ti", "pytorch", batch=64),
    "Tesla_P40_GPU": Target("tesla-p40", "pytorch", batch=64),
    # Its median of 0.8 s is that of a batch, not of one image; the paper states none.
    "Intel_Xeon_CPU": Target("intel-xeon", "pytorch", batch=64),
}
_SPACES = {
    "ofa": "ofa-mobilenet-v3",
    "fixedkernelcompofa": "compofa-fixed-kernel",
    "elastickernelcompofa": "compofa-elastic-kernel",
}

# Nothing but what an OFA dict consists of; JSON then parses it.
_ALLOWED = re.compile(r"[\s{}\[\]:,0-9]*(?:(?:'(?:wid|ks|e|d|r)'|None)[\s{}\[\]:,0-9]*)*")


def is_one(path: Path) -> bool:
    """Whether a CSV file has the paper's columns."""
    return set(COLUMNS) <= set(read_csv(path).columns)


def from_name(path: Path) -> tuple[SearchSpace | None, Target | None]:
    """Space and target that a file name of the paper's stands for, where it is one."""
    from latcast.spaces import space

    device, _, kind = path.stem.rpartition("_")
    name = _SPACES.get(kind)
    return (space(name) if name else None), _TARGETS.get(device)


def read(path: Path, asked: Asked) -> Dataset:
    """Read one file; space and target default to what its name says.

    Raises:
        ValueError: a column is missing, a cell is malformed, or the name says nothing and
            space or target are not given.
    """
    named_space, named_target = from_name(path)
    if asked.target is not None and named_target is not None and asked.target != named_target:
        raise ValueError(f"{path.name} is of target {named_target}; asked for {asked.target}")
    the_space, target = asked.space or named_space, asked.target or named_target
    if the_space is None or target is None:
        raise ValueError(
            f"the name of {path.name} does not tell its space and target: give --space and "
            "--target, such as ofa-mobilenet-v3 and rtx-2080-ti/pytorch/b64 (in Python, space= and "
            "target= of latcast.read)"
        )
    frame = read_csv(path, COLUMNS)
    provenance = {"source": path.name, "licence": "unknown"}
    if named_space is not None and named_target is not None:
        # Anybody's table can have these columns; the paper's files are known by their names.
        source = f"OFANAS_PerformanceEstimation, datasets/{path.name} (arXiv:2101.00732)"
        provenance = {"source": source, "licence": "Apache-2.0"}
    cells = enumerate(frame["child_arch"].to_list())
    archs = the_space.parse(parse_cell(cell, f"{path.name}, row {n}") for n, cell in cells)
    return Dataset(
        archs,
        float_column(path, frame, "latency"),
        target,
        provenance=provenance,
    )


def parse_cell(cell: str | None, where: str) -> Any:
    """The OFA dict in a cell, written in Python's or in JSON's way.

    Raises:
        ValueError: the cell holds anything else.
    """
    text = (cell or "").replace('"', "'").replace("null", "None")
    if not text or len(text) > 2_000 or not _ALLOWED.fullmatch(text):
        raise ValueError(
            f"{where}: an architecture must be a dict such as "
            f"{{'ks': [3, …], 'e': [4, …], 'd': [2, …], 'r': [224]}}; got {text[:60]!r}"
        )
    try:
        return json.loads(text.replace("'", '"').replace("None", "null"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: the architecture is malformed: {error}") from None
