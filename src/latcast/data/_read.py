"""One function that reads every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latcast import spaces
from latcast._files import check_file
from latcast._names import unknown_name
from latcast.devices import Target
from latcast.spaces import SearchSpace

from . import _parquet, help, ofanas, user_csv
from ._csv import read_csv
from ._dataset import LatencyDataset
from ._network_dataset import NetworkDataset

Reader = Callable[[Path, SearchSpace | None, Target | None], LatencyDataset]


def _read_parquet(
    path: Path, the_space: SearchSpace | None, target: Target | None
) -> LatencyDataset:
    data = LatencyDataset.load(path)
    for what, asked, got in (
        ("space", the_space and the_space.name, data.archs.space.name),
        ("target", target and str(target), str(data.target)),
    ):
        if asked and asked != got:
            raise ValueError(f"{path} is of {what} {got}; asked for {asked}")
    return data


FORMATS: dict[str, Reader] = {
    "parquet": _read_parquet,
    "ofanas": ofanas.read,
    "csv": user_csv.read,
    "help": help.read,
}


def read(
    path: str | Path,
    *,
    space: str | SearchSpace | None = None,
    target: str | Target | None = None,
    format: str | None = None,
) -> LatencyDataset | NetworkDataset:
    """Read a dataset, of a space's architectures or of networks of any kind.

    Takes and raises what :func:`read_latencies` does.
    """
    path = Path(path)
    check_file(path)
    if path.suffix.lower() != ".parquet" or format not in (None, "parquet"):
        return read_latencies(path, space=space, target=target, format=format)
    if _parquet.kind_of(path) != _parquet.NETWORKS:
        return read_latencies(path, space=space, target=target)
    data = NetworkDataset.load(path)
    if space is not None:
        raise ValueError(f"{path} is of networks, not of a space; leave the space out")
    if target is not None and str(target) != str(data.target):
        raise ValueError(f"{path} is of target {data.target}; asked for {target}")
    return data


def read_latencies(
    path: str | Path,
    *,
    space: str | SearchSpace | None = None,
    target: str | Target | None = None,
    format: str | None = None,
) -> LatencyDataset:
    """Read a dataset of a space's architectures.

    Args:
        path: Parquet of latcast's own, a CSV of the OFANAS paper or of the user's own, or a
            ``.pt`` file of HELP.
        space: search space of the architectures, where the file does not tell.
        target: what the latencies belong to, where the file does not tell.
        format: one of ``parquet``, ``ofanas``, ``csv``, ``help``; detected by default.

    Raises:
        ValueError: the file is not of the format, damaged, or contradicts ``space`` or
            ``target``; an unknown name.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    check_file(path)
    if format is not None and format not in FORMATS:
        raise ValueError(unknown_name("format", format, list(FORMATS)))
    the_space = _resolve(space)
    if isinstance(target, str):
        target = Target.parse(target)
    return FORMATS[format or _detect(path)](path, the_space, target)


def _resolve(name: str | SearchSpace | None) -> SearchSpace | None:
    return spaces.space(name) if isinstance(name, str) else name


def _detect(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "parquet"
    if suffix == ".pt":
        return "help"
    if suffix == ".csv":
        return "ofanas" if set(ofanas.COLUMNS) <= set(read_csv(path).columns) else "csv"
    raise ValueError(
        f"the format of {path.name} is not known by its suffix; "
        f"known: .parquet, .csv, .pt, or give format=… ({', '.join(FORMATS)})"
    )
