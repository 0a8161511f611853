"""Write docs/json.md: what the command line prints with --json, from the records themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from latcast.report.record import Record, described, record_class

PAGE = Path(__file__).parents[1] / "docs" / "json.md"

COMMANDS = {
    "predict ARCH.json": "architectures-forecast",
    "predict MODEL.onnx": "network-forecast",
    "predict MODEL.onnx --sweep": "network-sweep",
    "predict NETWORK --device ENERGY.latcast": "quantity-forecast",
    "choose": "choice",
    "which MODEL.onnx": "device-ranking",
    "check": "budget-check",
    "suggest --for MODEL.onnx": "suggestions",
    "suggest --device NAME": "telling",
    "inspect": "inspection",
    "search": "search",
    "search --verify": "verified-search",
    "export": "export",
    "measure": "campaign",
    "measure --precision fp32,int8": "campaigns",
    "measure --hosts FLEET.toml": "fleet",
    "host prepare": "host",
    "host check": "host",
    "host remove": "host",
    "lookup-table build": "lookup-table",
    "lookup-table convert": "converted-lookup-table",
    "audit": "audit",
    "audit FOLDER": "tables-audit",
    "compare": "comparison",
    "train": "training",
    "train DATA DATA …": "base-training",
    "adapt": "adaptation",
    "tune": "tuning",
    "evaluate": "evaluation",
    "accuracy train": "accuracy-training",
    "accuracy evaluate": "accuracy-evaluation",
    "accuracy predict": "accuracy-prediction",
    "spaces": "spaces",
    "spaces NAME": "space",
    "devices": "devices",
    "models": "models",
    "models NAME": "model",
    "models timm:": "network-names",
    "models push MODEL ADDRESS": "pushed-model",
    "data list": "data-sources",
    "data fetch": "fetched",
    "bench …": "bench",
    "every command, on stderr": "error",
}
"""Command -> schema of what it prints."""

CHANGED = (
    ("predict ARCH.json", "a list", "`devices`"),
    ("devices, spaces, models (lists)", "a list", "`devices`, `spaces`, `models`"),
    ("audit", "a list", "`issues`"),
    ("bench", "a list", "`rows`"),
    ("bench search", "`samsung-note10`, `nasbench201`", "`rows`, of both"),
    ("train", "`traps`", "`data_issues`"),
    ("measure", "`noise_of_a_visit`", "`noise_of_a_run`"),
    ("models", "`card.traps`", "`card.data_issues`"),
)
"""Command, name of a key before records, name now."""

HEAD = """# JSON

Every command takes `--json`: the record that it would show as tables is printed on stdout, and
nothing else; notes are on stderr, and so are errors, as a line of JSON each (`latcast/error`) with
the exit code that the command ends with: 1 where the work failed, 2 where it was used wrongly. A
reader that goes away (`latcast … | head -1`) is no failure: the command does the rest of its work
and ends with the code that it else has. Rows of many architectures are made and printed some
thousands at a time, so that a million takes no more memory than a few thousand.

A call of the library returns the same record (`latcast.forecast`, `latcast.search(...).record()`,
…), with `to_dict()`, `to_json()`, `to_polars()` and `to_text()`.

```sh
latcast devices --kind phone --json > phones.json
```

```python
from latcast.devices import DeviceList

phones = DeviceList.of_kind("phone")
print(phones.to_polars().select("name", "bandwidth_gb_s"))
assert phones.to_dict()["schema"] == "latcast/devices"
```

An object says which shape it has: `schema` is its name, and `version` counts up when a key is
renamed, dropped or changes its meaning. Keys that do not apply are null; NaN and infinities are
null. Times are ms for a whole batch, shares and probabilities 0 to 1. `spaces NAME --sample` and
`suggest` of a space print no record but architectures, a list in the field's own form, as
`predict` and `measure --archs` read it.

This page is written by `scripts/json_reference.py` from the records themselves; a test compares
them.
"""


def load() -> dict[str, type[Record]]:
    """Every record, by its schema."""
    return {name: record_class(name) for name in COMMANDS.values()}


def page() -> str:
    """The text of docs/json.md."""
    return "\n".join([HEAD, *_commands(), *_changes(), *_records()])


def _commands() -> Iterator[str]:
    yield "| command | schema |\n| --- | --- |"
    for command, schema in COMMANDS.items():
        yield f"| `latcast {command}` | [`latcast/{schema}`](#latcast{schema}) |"


def _changes() -> Iterator[str]:
    yield "\nKeys that were called otherwise before there were records:\n"
    yield "| command | before | now |\n| --- | --- | --- |"
    yield from (f"| `{command}` | {before} | {now} |" for command, before, now in CHANGED)


def _records() -> Iterator[str]:
    for name, cls in load().items():
        title = (cls.__doc__ or "").strip().splitlines()[0]
        yield f"\n## latcast/{name}\n\n{title} Version {cls.version}.\n"
        yield "| key | what |\n| --- | --- |"
        yield from (f"| `{path}` | {text} |" for path, text in described(cls))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
