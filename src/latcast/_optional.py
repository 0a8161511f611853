"""Optional packages: imported where they are used, missed with the line to type."""

from __future__ import annotations

from importlib import import_module
from typing import Any


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
