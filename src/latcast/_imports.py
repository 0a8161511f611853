"""Imports that wait: a package's public names until their first use, optional packages."""

import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module

# Loaded before ``__main__`` leaves the current folder out: see the package's ``__init__``.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def public_names(
    package: str, modules: Mapping[str, str] | None = None
) -> "tuple[Callable[[str], Any], Callable[[], list[str]]]":
    """A package's ``__getattr__`` and ``__dir__``, which import a public name on its first use.

    A package that loads all of its names at once costs everybody who needs one of them all of its
    modules; this way each name costs its own. What a name is imported from stands once: in the
    package's source under ``if TYPE_CHECKING``, up to the ``else`` in which this is called.

    Args:
        package: its ``__name__``.
        modules: names of ``__all__`` that stand for a module, whatever that block imports for them.
    """
    own = sys.modules[package]

    @cache
    def places() -> dict[str, tuple[str, str]]:
        import re

        loader: Any = own.__loader__
        if (source := loader.get_source(package)) is None:
            raise ImportError(f"{package} must be installed with its source; it has bytecode alone")
        block = source.partition("if TYPE_CHECKING:")[2].partition("\nelse:")[0]
        found = {}
        for module, names in re.findall(_IMPORT, re.sub("#.*", "", block), re.MULTILINE):
            for name in filter(None, re.split(r"[(),]\s*", names)):
                attribute, _, called = name.strip().partition(" as ")
                found[called or attribute] = (module, attribute)
        return found

    def load(name: str) -> "Any":
        if name not in own.__all__:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if modules is not None and name in modules:
            value: Any = import_module(modules[name], package)
        else:
            module, attribute = places()[name]
            of = own if module == "." else import_module(module, package)
            # A name of the package itself is one of its modules.
            value = import_module(f"{package}.{attribute}") if of is own else getattr(of, attribute)
        setattr(own, name, value)
        return value

    def names() -> list[str]:
        return sorted(own.__all__)

    return load, names


_IMPORT = r"^    from (\S+) import (\([^)]*\)|[^\n]*)"


def require(package: str, extra: str, purpose: str) -> "Any":
    """Import ``package``, which the extra ``extra`` installs.

    Raises:
        ModuleNotFoundError: it is not installed, or cannot be loaded; the message says what to
            type.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{purpose} needs {package}, which is not installed: pip install 'latcast[{extra}]'",
            name=error.name,
        ) from error
    except Exception as error:
        # Packages that were built for another version of PyTorch fail with errors of any kind.
        if (version := _version(package)) is None:
            raise
        beside = f" beside torch {torch}" if (torch := _version("torch")) else ""
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        packages = " ".join(dict.fromkeys(("torch", "torchvision", package)))
        remedy = f"pip install --upgrade {packages if beside else package}"
        raise ModuleNotFoundError(
            f"{purpose} needs {package}; {version} is installed and cannot be loaded{beside} "
            f"({told}): install versions that go together: {remedy}",
            name=package,
        ) from error


def _version(package: str) -> str | None:
    """Version of an installed package; None where there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
