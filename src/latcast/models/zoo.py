"""Shipped models, each a ``*.latcast`` file whose header holds its card.

A model's *role* is what it answers: ``space`` (architectures of one space on one target),
``networks`` (any network on one target), ``base`` (architectures of one space on any target),
``joint`` (any network on any target) or ``accuracy``. The name of a file tells its role, so that a
name is found without opening a file.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, get_args

from latcast._model_file import read_header
from latcast._names import unknown_name
from latcast.devices import Target

from . import hub
from ._model import open_model

Role = Literal["space", "base", "networks", "joint", "accuracy"]
ROLES: tuple[Role, ...] = get_args(Role)

SUFFIX = hub.SUFFIX
_SUFFIXES: dict[Role, str] = {
    "accuracy": ".accuracy.latcast",
    "base": ".base.latcast",
    "joint": ".joint.latcast",
    "networks": ".layers.latcast",
    "space": SUFFIX,  # the last: the others end so, too
}
_TITLES: dict[Role, str] = {
    "accuracy": "accuracy model", "base": "base model", "joint": "joint model",
    "networks": "layer model", "space": "model",
}  # fmt: skip


# The shipped joint model: targets that it names are models of networks without files of their own.
JOINT = "devices"


class UnresolvedError(ValueError):
    """Nothing answers for what was asked; the message says what does."""


def _folder() -> Traversable:
    return resources.files("latcast") / "zoo"


@lru_cache(maxsize=4)
def _files(folder: Traversable) -> dict[Role, dict[str, Traversable]]:
    """Files of a folder by role and name."""
    files: dict[Role, dict[str, Traversable]] = {role: {} for role in ROLES}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        for role, suffix in _SUFFIXES.items():
            if file.name.endswith(suffix):
                files[role][file.name.removesuffix(suffix)] = file
                break
    return files


def names(role: Role = "space") -> list[str]:
    """Names of the shipped models of a role, in alphabetical order.

    A latency model is named for its device, and its batch where that is not the usual; base and
    accuracy models for their search space.
    """
    files = _files(_folder())[role]  # type: ignore[arg-type]  # paths are
    return sorted({*files, *of_joint()}) if role == "networks" else list(files)


def of_joint() -> dict[str, Any]:
    """Headers of the targets that the shipped joint model names, by their names.

    A file of the same name comes before.
    """
    files = _files(_folder())  # type: ignore[arg-type]  # likewise
    if JOINT not in files["joint"]:
        return {}
    named = header(JOINT, "joint").get("named", {})
    return {
        name: {
            "kind": "joint-target", "space": None, "target": entry["target"],
            "card": entry["card"], "on_families": False,
        }
        for name, entry in named.items()
        if name not in files["networks"]
    }  # fmt: skip


def path(name: str, role: Role = "space") -> AbstractContextManager[Path]:
    """The file of a shipped model.

    Raises:
        ValueError: there is none of that name; the message suggests the nearest.
    """
    return resources.as_file(_file(name, role))


def _file(name: str, role: Role) -> Traversable:
    try:
        return _files(_folder())[role][name]  # type: ignore[arg-type]  # likewise
    except KeyError:
        raise UnresolvedError(unknown_name(_TITLES[role], name, names(role))) from None


def header(name: str, role: Role = "space") -> dict[str, Any]:
    """Header of a shipped model: kind, space, target, and its card (data, licence, metrics).

    It is read once in a process, without the arrays behind it; do not change it.

    Raises:
        ValueError: as :func:`path`.
    """
    if role == "networks" and name in (named := of_joint()):
        own: dict[str, Any] = named[name]
        return own
    return _header(_file(name, role))  # type: ignore[arg-type]  # likewise


@lru_cache(maxsize=256)
def _header(file: Traversable) -> dict[str, Any]:
    with resources.as_file(file) as path:
        return read_header(path)


def target(name: str, role: Role = "space") -> Target:
    """The target of a shipped model of one.

    Raises:
        ValueError: as :func:`path`.
    """
    return Target.parse(header(name, role)["target"])


def of_device(device: str, role: Role = "space") -> list[str]:
    """Names of the shipped models of a device."""
    return [n for n in names(role) if target(n, role).device == device]


def open_shipped(name: str, role: Role = "space") -> Any:
    """A shipped model.

    Raises:
        ValueError: there is none of that name.
    """
    if role == "networks" and name in of_joint():
        return open_shipped(JOINT, "joint").of_name(name)
    with path(name, role) as file:
        return _joint(file) if role == "joint" else open_model(file)


@lru_cache(maxsize=1)
def _joint(file: Path) -> Any:
    """The joint model, which one command may ask for dozens of targets."""
    return open_model(file)
