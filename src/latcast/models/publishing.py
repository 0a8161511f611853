"""Cards of models in the Hugging Face Hub's format, and models that are pushed there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from latcast._imports import require
from latcast.report.formats import pieces
from latcast.report.record import Record
from latcast.report.table import Table
from latcast.report.text import bytes_text

from . import zoo
from .hub import SUFFIX, Address, is_file, local_file, told
from .overview import ModelCard, model_card

# Licences as cards name them that are identifiers of the Hub in lower case.
_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0")
# Type of a metric -> its name, with the quantity's unit.
_SCORES = {
    "mae": "MAE, {}",
    "rmse": "RMSE, {}",
    "mape": "MAPE, %",
    "spearman": "Spearman",
    "kendall": "Kendall",
    "within_5": "within 5 %, %",
    "within_10": "within 10 %, %",
    "coverage_90": "90 % interval covers, %",
}


@dataclass(frozen=True, repr=False)
class PushedModel(Record):
    """A model that was written to the Hugging Face Hub.

    Attributes:
        model: its name, or its file.
        address: by which :func:`latcast.load` reads it.
        url: of its page.
        commit: revision that holds it.
        bytes: size of the file.
    """

    schema = "pushed-model"
    no_figure = "it is an address"

    model: str
    address: str
    url: str
    commit: str
    bytes: int

    def answer(self) -> str:
        return f"{self.model} is at {self.address} now."

    def parts(self) -> Iterator[Table | str]:
        yield f"pushed {self.model} ({bytes_text(self.bytes)}) to {self.address}: {self.url}"


def push(
    model: str | Path, address: str, *, private: bool = False, message: str | None = None
) -> PushedModel:
    """Write a model and its card to the Hub; the repository is made if it is not there.

    Args:
        model: a file, or the name of a shipped model.
        address: ``hf://OWNER/NAME[/FILE][@REVISION]``; the file's own name by default.
        private: whether a repository that is made is.
        message: of the commit.

    Raises:
        ValueError: the model or the address makes no sense.
        FileNotFoundError: there is no such file, or the Hub refuses.
        ModuleNotFoundError: ``huggingface_hub`` is not installed.
    """
    to = Address.parse(address)
    card = model_card(str(model))
    content, name = _content(model)
    name = to.file or name
    package = require("huggingface_hub", "hub", f"{to}")
    text = card_markdown(card, Address(to.repo, name, None))
    operations = [
        package.CommitOperationAdd(name, content),
        package.CommitOperationAdd("README.md", text.encode()),
    ]
    with told(to):
        api = package.HfApi(library_name="latcast")
        url = api.create_repo(to.repo, private=private or None, exist_ok=True)
        done = api.create_commit(
            to.repo, operations, commit_message=message or f"{Path(name).stem} by latcast",
            revision=to.revision,
        )  # fmt: skip
    return PushedModel(
        str(model), str(Address(to.repo, name, to.revision)), str(url), done.oid, len(content)
    )


def _content(model: str | Path) -> tuple[bytes, str]:
    """A model's file, and what it is called."""
    if is_file(model):
        path = local_file(model)
        return path.read_bytes(), path.name
    name = str(model)
    roles: tuple[zoo.Role, ...] = ("space", "networks", "base", "joint")
    role: zoo.Role = next((role for role in roles if name in zoo.names(role)), "space")
    if role == "networks" and name in zoo.of_joint():  # a part of a larger model
        with TemporaryDirectory() as folder:
            path = Path(folder, f"{name}{SUFFIX}")
            zoo.open_shipped(name, role).save(path)
            return path.read_bytes(), path.name
    with zoo.path(name, role) as path:
        return path.read_bytes(), path.name


def card_markdown(card: ModelCard, address: Address | None = None) -> str:
    """A README in the Hub's format: metadata as YAML with scores, then the card in words.

    Args:
        card: of a model.
        address: by which it will be loaded.
    """
    name = Path(card.name).name.removesuffix(SUFFIX)
    front = yaml.safe_dump(_metadata(card, name), sort_keys=False, allow_unicode=True, width=100)
    body = "".join(pieces(card.parts(), "md"))
    load = f'latcast.load("{address or card.name}")'
    usage = f"```python\nimport latcast\n\nmodel = {load}  # pip install 'latcast[hub]'\n```"
    return f"---\n{front}---\n\n# {name}\n\n{body}\n\n{usage}\n"


def _metadata(card: ModelCard, name: str) -> dict[str, Any]:
    device = [] if card.target is None else [card.target.split("/")[0]]
    results = list(_results(card, name))
    return {
        **_licence(card.card),
        "library_name": "latcast",
        "tags": ["latency", "hardware-aware", "neural-architecture-search", card.kind, *device],
        **({"model-index": [{"name": name, "results": results}]} if results else {}),
    }


def _results(card: ModelCard, name: str) -> Iterator[dict[str, Any]]:
    """Scores on the test rows: of one target, or of each."""
    metrics = card.card.get("metrics") or {}
    if card.target is not None:
        metrics = {card.target: metrics}
    data = card.card.get("data") or {}
    sources = [d.get("source") for d in (data if isinstance(data, list) else [data])]
    unit = card.quantity.rpartition("_")[2]
    for target, scores in metrics.items():
        told = [
            {"type": key, "name": label.format(unit), "value": float(value)}
            for key, label in _SCORES.items()
            if isinstance(value := scores.get(f"{key}_{unit}", scores.get(key)), int | float)
        ]
        if told:
            yield {
                "task": {"type": "latency-prediction", "name": f"{card.quantity} on {target}"},
                "dataset": {"type": target.split("/")[0], "name": sources[0] or name},
                "metrics": told,
            }


def _licence(card: Mapping[str, Any]) -> dict[str, str]:
    """The licence, by the Hub's identifier where it has one."""
    data = card.get("data") or {}
    told = {d.get("licence") for d in (data if isinstance(data, list) else [data])}
    text = card.get("licence") or (told.pop() if len(told) == 1 else None)
    if text is None:
        return {}
    known = str(text).lower()
    return (
        {"license": known}
        if known in _LICENCES
        else {"license": "other", "license_name": str(text)}
    )
