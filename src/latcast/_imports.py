"""Imports that wait: a package's public names until their first use, optional packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def public_names(
    package: str, modules: Mapping[str, str], others: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``, which import a public name on its first use.

    A package that loads all of its names at once costs everybody who needs one of them all of its
    modules; this way each name costs its own.

    Args:
        package: its ``__name__``.
        modules: module, relative to the package or of another room -> its names, with spaces
            between them.
        others: public name -> ``module``, or ``module:name`` where the module calls it otherwise.
    """
    places = {name: f"{module}:{name}" for module, text in modules.items() for name in text.split()}
    places |= others or {}

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = places[name].partition(":")
        value: Any = import_module(module, package)
        if attribute:
            value = getattr(value, attribute)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return load, names


def require(package: str, extra: str, purpose: str) -> Any:
    """Import ``package``, which the extra ``extra`` installs.

    Raises:
        ModuleNotFoundError: it is not installed; the message says what to type.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{purpose} needs {package}, which is not installed: pip install 'latcast[{extra}]'",
            name=error.name,
        ) from error
