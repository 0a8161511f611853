"""Records from their JSON: what ``--json`` printed, or a service answered, is a record again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

# Schema -> module, below latcast, whose record it is; it is imported when one is read.
HOMES = {
    "accuracy-evaluation": "models.accuracy.records",
    "accuracy-prediction": "models.accuracy.records",
    "accuracy-training": "models.accuracy.records",
    "adaptation": "models.workflow",
    "architectures-forecast": "models.forecast_archs",
    "audit": "data.audit_report",
    "base-training": "models.workflow",
    "bench": "bench.tables",
    "campaign": "measure._record",
    "campaigns": "measure._record",
    "choice": "search.choose",
    "comparison": "models.comparison",
    "converted-lookup-table": "models.measured_table",
    "budget-check": "search.budgets",
    "data-sources": "data.fetch",
    "device-ranking": "search.which",
    "devices": "devices._catalogue",
    "error": "report.record",
    "evaluation": "models.evaluation",
    "export": "ofa._export",
    "fetched": "data.fetch",
    "fleet": "measure._record",
    "host": "measure.hosts.preparing",
    "inspection": "graph.inspection",
    "lookup-table": "models.measured_table",
    "model": "models.overview",
    "models": "models.overview",
    "network-forecast": "models.forecast_records",
    "network-names": "graph.read.names",
    "network-sweep": "models.sweep",
    "pushed-model": "models.publishing",
    "quantity-forecast": "models.forecast_quantity",
    "search": "search.result",
    "space": "spaces.overview",
    "spaces": "spaces.overview",
    "suggestions": "models.suggestions",
    "tables-audit": "data.audit_report",
    "telling": "models.suggestions",
    "training": "models.workflow",
    "tuning": "models.tuning._tune",
    "verified-search": "search.verification._record",
}

# Attribute -> key in JSON, of what scripts read before it had the field's name: keys of numbers
# keep theirs, and so do the lists that such scripts look into.
KEPT_KEYS = {
    "traffic_bytes": "moved_bytes",
    "extrapolation": "doubt",
    "extrapolations": "doubts",
    "extrapolated_share": "doubtful_share",
    "unsupported": "uncosted",
    "unsupported_share": "uncosted_share",
}

# Class -> key that was added to it after records of its schema's version had been written -> what
# stands for it in those. A key that is added has to stand here, or have a default.
ADDED_KEYS: dict[str, dict[str, Any]] = {
    "Adaptation": {"unstable": None, "unit": None},
    "Evaluation": {"unstable": 0, "metrics_weighted": None, "unit": None},
    "ForecastKernel": {"inputs": [], "out_shape": None, "param_bytes": None},
    "InspectedKernel": {"inputs": [], "out_shape": None},
    "Training": {"unstable": None},
}

T = TypeVar("T")


def key_of(attribute: str) -> str:
    """Return the key in JSON of an attribute of a record."""
    return KEPT_KEYS.get(attribute, attribute)


def read_fields(cls: type[T], data: Any, path: str = "") -> T:
    """Read a dataclass from its JSON; numbers that JSON lacks (null for a number) are NaN.

    Keys that the class does not have are left out: a later version of the same schema may add some.

    Args:
        cls: a record, or a dataclass inside of one.
        data: its JSON.
        path: where it stands in the record, for messages.

    Raises:
        ValueError: a key is missing or holds something else.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{path or 'a record'} must be an object; got {type(data).__name__}")
    values: dict[str, Any] = {}
    for name, key, hint, is_optional in _fields_of(cls):  # type: ignore[arg-type]
        place = f"{path}.{key}" if path else key
        if key in data:
            values[name] = _value(hint, data[key], place)
        elif key in (added := ADDED_KEYS.get(cls.__name__, {})):
            values[name] = _value(hint, added[key], place)
        elif not is_optional:
            raise ValueError(f"{place} is missing in the JSON of a {cls.__name__}")
    return cls(**values)


@cache
def _fields_of(cls: type[Any]) -> tuple[tuple[str, str, Any, bool], ...]:
    """Return name, key, type and whether it may be left out of every field of a class."""
    hints = get_type_hints(cls)
    return tuple(
        (
            f.name,
            key_of(f.name),
            hints[f.name],
            f.default is not MISSING or f.default_factory is not MISSING,
        )
        for f in fields(cls)
        if f.init
    )


def _value(hint: Any, value: Any, path: str) -> Any:
    """Return a value of JSON as its type has it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _of_union(arguments, value, path)
    if isinstance(hint, type) and is_dataclass(hint):
        return read_fields(hint, value, path)
    if value is None:
        return float("nan") if hint is float else None
    if not _is_of(hint, value):
        raise ValueError(f"{path} must be of type {hint.__name__}; got {type(value).__name__}")
    kind = origin or hint
    if isinstance(kind, type) and arguments:
        if issubclass(kind, Mapping):
            return _mapping(arguments, value, path)
        if issubclass(kind, Sequence):
            return _items(kind, arguments, value, path)
    return value


def _mapping(arguments: tuple[Any, ...], value: Any, path: str) -> dict[Any, Any]:
    """Return an object whose keys depend on the data; JSON has numbers as texts there."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{path} must be an object; got {type(value).__name__}")
    of, inner = arguments
    keyed = of if of in (int, float) else str
    return {keyed(key): _value(inner, item, f"{path}.{key}") for key, item in value.items()}


def _items(kind: type[Any], arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    """Return a list or a tuple, whose items are of one type or of one each."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{path} must be a list; got {type(value).__name__}")
    has_each = kind is tuple and arguments[-1] is not Ellipsis
    if has_each and len(value) != len(arguments):
        raise ValueError(f"{path} must have {len(arguments)} items; got {len(value)}")
    hints = arguments if has_each else [arguments[0]] * len(value)
    found = [
        _value(h, v, f"{path}[{n}]") for n, (h, v) in enumerate(zip(hints, value, strict=True))
    ]
    return found if kind is list else tuple(found)


def _of_union(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    """Return a value of one of several types: the first that it can be."""
    if value is None and NoneType in arguments:
        return None
    for hint in arguments:
        kind = get_origin(hint) or hint
        if not isinstance(kind, type) or kind is NoneType:
            continue
        is_list = issubclass(kind, Sequence) and kind is not str
        is_object = is_dataclass(kind) or issubclass(kind, Mapping)
        is_such = (is_list, is_object) == (
            isinstance(value, list | tuple), isinstance(value, Mapping)
        )  # fmt: skip
        if is_such and _is_of(hint, value):
            return _value(hint, value, path)
    raise ValueError(f"{path} must be of another type than {type(value).__name__}")


def _is_of(hint: Any, value: Any) -> bool:
    """Whether a value of JSON is of a type, if that is one of JSON's own."""
    if hint not in (str, bool, int, float):
        return True
    accepted = (int, float) if hint is float else (hint,)
    return isinstance(value, accepted) and isinstance(value, bool) == (hint is bool)
