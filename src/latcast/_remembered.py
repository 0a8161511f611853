"""Answers that are remembered, in a process that is asked again and again.

A command asks once, and remembers nothing. A server turns this on for what is the same every time:
the network in a file that is named by its content, the predictor of a device.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Remembering(Generic[P, R]):
    """A function that can remember what it returned last; nothing until :meth:`keep` is called.

    Args:
        function: whose results nobody changes.
        key: of the same arguments, what tells apart results; None for what is not remembered.
    """

    def __init__(self, function: Callable[P, R], key: Callable[P, Hashable | None]) -> None:
        self._function, self._key = function, key
        self._most = 0
        self._known: OrderedDict[Hashable, R] = OrderedDict()
        self._lock = threading.Lock()
        functools.update_wrapper(self, function)

    def keep(self, count: int) -> None:
        """Remember so many results, those that were asked for last; 0 forgets all."""
        self._most = count
        with self._lock:
            self._known.clear()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the function's value, which is computed once for equal arguments."""
        key = self._key(*args, **kwargs) if self._most else None
        if key is None:
            return self._function(*args, **kwargs)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = self._function(*args, **kwargs)
        with self._lock:
            self._known[key] = found
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return found


def remembering(
    key: Callable[P, Hashable | None],
) -> Callable[[Callable[P, R]], Remembering[P, R]]:
    """:class:`Remembering`, as a decorator."""
    return lambda function: Remembering(function, key)
