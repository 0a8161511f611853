"""Once-For-All's lookup tables: ``RESOLUTION_lookup_table.yaml``, block key -> count, mean, std."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from latcast._files import check_size
from latcast._limits import MAX_LOOKUP_TABLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml


_FILE_NAME = re.compile(r"(\d{2,4})_lookup_table\.ya?ml")


def read(path: str | Path) -> dict[str, float]:
    """Mean milliseconds of every block, by ``RESOLUTION/KEY``.

    Args:
        path: a folder of lookup tables, or one of its files.

    Raises:
        ValueError: a file is not of that form, or a mean is not finite and positive.
        FileNotFoundError: there is no such file, or no table in the folder.
    """
    path = Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [f for f in files if _FILE_NAME.fullmatch(f.name)]
    if not files or not path.exists():
        raise FileNotFoundError(
            f"no lookup table at {path}: a file is called RESOLUTION_lookup_table.yaml"
        )
    table: dict[str, float] = {}
    for file in files:
        match = _FILE_NAME.fullmatch(file.name)
        assert match is not None
        for key, mean in _read_file(file).items():
            table[f"{match[1]}/{key}"] = mean
    return table


def _read_file(path: Path) -> dict[str, float]:
    import yaml

    check_size(path, MAX_LOOKUP_TABLE_BYTES)
    table: dict[str, float] = {}
    try:
        with path.open("rb") as file:
            events = yaml.parse(file, Loader=_loader())
            for key, statistics in _mappings(path, events):
                table[key] = _mean(path, key, statistics)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} must be YAML; reading it: {reason}") from None
    if not table:
        raise ValueError(f"{path} holds no blocks")
    return table


def _loader() -> type[yaml.SafeLoader]:
    import yaml

    loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return loader


def _mappings(path: Path, events: Iterator[yaml.Event]) -> Iterator[tuple[str, dict[str, str]]]:
    """Pairs of a mapping of flat mappings, straight from the parser's events.

    Nothing is constructed but strings, and an alias is refused, so that a small file cannot
    stand for a huge one.
    """
    import yaml

    stack: list[dict[str, str]] = []
    keys: list[str | None] = []
    for event in events:
        if isinstance(event, yaml.MappingStartEvent) and len(stack) < 2:
            if len(stack) == 1 and keys[0] is None:
                raise _form(path)
            stack.append({})
            keys.append(None)
        elif isinstance(event, yaml.MappingEndEvent):
            mapping = stack.pop()
            keys.pop()
            if stack:
                assert keys[0] is not None
                yield keys[0], mapping
                keys[0] = None
        elif isinstance(event, yaml.ScalarEvent) and stack:
            if keys[-1] is None:
                keys[-1] = event.value
            elif len(stack) == 2:
                stack[-1][keys[-1]] = event.value
                keys[-1] = None
            else:
                raise _form(path)
        elif isinstance(event, yaml.NodeEvent | yaml.SequenceEndEvent):
            raise _form(path)


def _form(path: Path) -> ValueError:
    return ValueError(
        f"{path} must map block keys to 'count', 'mean' and 'std' (no lists, no aliases)"
    )


def _mean(path: Path, key: str, statistics: dict[str, str]) -> float:
    try:
        mean = float(statistics["mean"])
    except (KeyError, ValueError):
        raise ValueError(
            f"{path}: block {key[:80]!r} must have a 'mean' in ms; got {statistics.get('mean')!r}"
        ) from None
    if not math.isfinite(mean) or mean <= 0:
        raise ValueError(
            f"{path}: the mean of block {key[:80]!r} must be finite and positive; got {mean}"
        )
    return mean
