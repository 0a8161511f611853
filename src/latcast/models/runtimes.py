"""Runtimes that a forecast can be asked for: measured ones, those of models, a user's own."""

from __future__ import annotations

from collections.abc import Iterable

from latcast._names import unknown_name
from latcast.devices import public_runtime, runtime_names, runtime_of_domain

from . import zoo
from .zoo import JOINT, UnresolvedError, open_shipped

UNNAMED = ("help", "pytorch-help", "lookup-table")
"""What papers measured with and do not name, or added up: nobody can run a network by it."""

# Names in public tables of PyTorch's compilers, whose rules the joint model knows.
_COMPILED = ("pytorch-fused", "pytorch-dynamo")


def check_runtime(name: str, also: Iterable[str] = ()) -> None:
    """Make sure that a runtime is one that was measured, that measures or that somebody added.

    A misspelt name must get no forecast: by physics alone, every name would have one.

    Args:
        name: of the runtime, or of a domain of the joint model.
        also: runtimes of the model that is asked, which may be a user's own.

    Raises:
        UnresolvedError: there is none of that name; the message suggests the nearest.
    """
    domains = open_shipped(JOINT, "joint").domains if JOINT in zoo.names("joint") else {}
    measured = {*map(runtime_of_domain, domains), *also}
    known = {*measured, *_COMPILED, *domains}
    if {runtime_of_domain(name), *runtime_names(name)} & known:
        return
    # Looking through what is installed takes time: only where no model knows the name.
    from latcast.measure.runtimes import RUNTIMES

    if {runtime_of_domain(name), public_runtime(name)} & {*RUNTIMES.names()}:
        return
    names = {*RUNTIMES.names(), *measured, "qnn"} - {*UNNAMED}
    raise UnresolvedError(
        f"{unknown_name('runtime', name, sorted(names))} (one of your own is registered first: "
        "latcast.measure.runtimes.register_runtime, or an entry point latcast.runtimes)"
    )
