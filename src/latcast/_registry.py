"""Things that a user can add to: ours, those registered from Python, and entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Generic, TypeVar

from ._names import unknown_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(Generic[T]):
    """Named things of one kind: latcast's own and a user's.

    An installed package adds to it by an entry point, which is loaded when its name is asked for
    or all names are listed; a running program by :meth:`register`.

    Args:
        what: what a thing is called in messages, such as ``quantity``.
        group: of the entry points, such as ``latcast.quantities``.
        kind: class that every thing must be an instance of.
        own: latcast's own things by name; a text ``module:name`` says where one is that is
            loaded when it is asked for.
    """

    def __init__(self, what: str, group: str, kind: type[T], own: Mapping[str, T | str]) -> None:
        self.what = what
        self.group = group
        self._kind = kind
        self._own = dict(own)
        self._things = {name: x for name, x in own.items() if not isinstance(x, str)}
        self._unread: dict[str, EntryPoint] | None = None

    def register(self, name: str, thing: T) -> None:
        """Add a thing; one that was registered under the name before is replaced.

        Raises:
            TypeError: it is of another kind.
            ValueError: the name is one of latcast's own.
        """
        self._check(name, thing)
        if name in self._own:
            raise ValueError(
                f"a {self.what} of your own must have a name of its own; {name!r} is latcast's"
            )
        self._things[name] = thing

    def get(self, name: str) -> T:
        """The thing of that name.

        Raises:
            ValueError: there is none; the message suggests the nearest and lists all.
        """
        if name not in self._things:
            self._load(name)
        try:
            return self._things[name]
        except KeyError:
            raise ValueError(unknown_name(self.what, name, self.names())) from None

    def __contains__(self, name: str) -> bool:
        """Whether there is a thing of that name; of ours nothing installed is looked through."""
        return name in self._own or name in self._things or name in self._entry_points()

    def names(self) -> list[str]:
        """All names, latcast's own first."""
        return list(dict.fromkeys([*self._own, *self._things, *self._entry_points()]))

    def _entry_points(self) -> dict[str, EntryPoint]:
        # Looking through what is installed takes time: only when a name is not known yet.
        if self._unread is None:
            from importlib import metadata

            self._unread = {e.name: e for e in metadata.entry_points(group=self.group)}
        return self._unread

    def _load(self, name: str) -> None:
        own = self._own.get(name)
        if isinstance(own, str):
            thing = resolve_name(own)
        elif (entry_point := self._entry_points().get(name)) is not None:
            thing = entry_point.load()
        else:
            return
        self._check(name, thing)
        self._things[name] = thing

    def _check(self, name: str, thing: object) -> None:
        if not isinstance(thing, self._kind):
            raise TypeError(
                f"the {self.what} {name!r} must be a {self._kind.__name__}; "
                f"got {type(thing).__name__}"
            )
