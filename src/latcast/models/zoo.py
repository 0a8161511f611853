"""Shipped models, each a ``*.latcast`` file whose header holds its card."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from latcast._model_file import read_model
from latcast._names import unknown_name

_SUFFIX = ".latcast"
_ACCURACY_SUFFIX = ".accuracy.latcast"
_BASE_SUFFIX = ".base.latcast"
_LAYERS_SUFFIX = ".layers.latcast"
_OTHERS = (_ACCURACY_SUFFIX, _BASE_SUFFIX, _LAYERS_SUFFIX)


def _folder() -> Traversable:
    return resources.files("latcast") / "zoo"


def names() -> list[str]:
    """Names of the shipped latency models: the device, and the batch where it is not the usual."""
    return sorted(
        f.name.removesuffix(_SUFFIX)
        for f in _folder().iterdir()
        if f.name.endswith(_SUFFIX) and not f.name.endswith(_OTHERS)
    )


def base_names() -> list[str]:
    """Names of the spaces for which a base model of many targets is shipped."""
    return _with_suffix(_BASE_SUFFIX)


def layer_names() -> list[str]:
    """Names of the shipped layer models, which forecast any network on one target."""
    return _with_suffix(_LAYERS_SUFFIX)


def _with_suffix(suffix: str) -> list[str]:
    return sorted(
        f.name.removesuffix(suffix) for f in _folder().iterdir() if f.name.endswith(suffix)
    )


def base_path(name: str) -> AbstractContextManager[Path]:
    """The file of the base model for a space.

    Raises:
        ValueError: there is none; the message suggests the nearest.
    """
    if name not in base_names():
        raise ValueError(unknown_name("base model", name, base_names()))
    return resources.as_file(_folder() / f"{name}{_BASE_SUFFIX}")


def model_path(name: str) -> AbstractContextManager[Path]:
    """The file of a shipped model.

    Raises:
        ValueError: there is none of that name; the message suggests the nearest.
    """
    if name not in names():
        if several := of_device(name):
            raise ValueError(f"{name} has several models; name one: {', '.join(several)}")
        raise ValueError(unknown_name("model", name, names()))
    return resources.as_file(_folder() / f"{name}{_SUFFIX}")


def layer_path(name: str) -> AbstractContextManager[Path]:
    """The file of a shipped layer model, by its name or by the device that has no other.

    Raises:
        ValueError: there is none of that name, or the device has several; the message names them.
    """
    if name not in layer_names():
        several = layers_of_device(name)
        if len(several) > 1:
            raise ValueError(f"{name} has several layer models; name one: {', '.join(several)}")
        if not several:
            raise ValueError(unknown_name("layer model", name, layer_names()))
        name = several[0]
    return resources.as_file(_folder() / f"{name}{_LAYERS_SUFFIX}")


def layers_of_device(name: str) -> list[str]:
    """Names of the shipped layer models of a device."""
    return [n for n in layer_names() if layer_header(n)["target"].startswith(f"{name}/")]


def of_device(name: str) -> list[str]:
    """Names of the shipped models of a device."""
    return [n for n in names() if header(n)["target"].startswith(f"{name}/")]


def header(name: str) -> dict[str, Any]:
    """Header of a shipped model: kind, space, target, and its card (data, licence, metrics).

    Raises:
        ValueError: as :func:`model_path`.
    """
    with model_path(name) as path:
        return read_model(path).header


def base_header(name: str) -> dict[str, Any]:
    """Header of a shipped base model: space, the targets that it knows, and its card.

    Raises:
        ValueError: as :func:`base_path`.
    """
    with base_path(name) as path:
        return read_model(path).header


def layer_header(name: str) -> dict[str, Any]:
    """Header of a shipped layer model: kind, target, and its card (data, licence, metrics).

    Raises:
        ValueError: as :func:`layer_path`.
    """
    with layer_path(name) as path:
        return read_model(path).header
