"""Forecasts of few architectures by the service itself, as far as these take a millisecond each.

A shipped model of a space is read in a millisecond. By a device's specification the first
architecture of a space takes up to seconds, as all blocks of the space are fused and priced for
the target; any other one after it takes a millisecond. Such first ones are a worker's, so that
they stall nobody else; what is asked for again is learnt by a thread of the service, one request
at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from latcast.models import zoo

from .calls import WARM_DEVICES, WARM_SPACE, Answer, answer

# Rows of a request, devices and precisions counted each: together they take some milliseconds.
MAX_ROWS = 8
# Bytes of such a request: eight architectures have 3 kB.
MAX_BYTES = 2**15
# Rows that are known at a time: fewer than predictors are remembered (calls.warm), so that what
# stands here is remembered there.
MAX_KNOWN = 128
# What a request may say besides its architectures, devices and precisions.
_REST = ("space", "runtime", "batch", "threads", "base", "similar_to")
_ASIDE = {"archs", "devices", "precision", "coverage", "strict", *_REST}


class OwnRows:
    """The rows of architectures that the service has forecast before, and forecasts by itself.

    A row is a target, as it was asked for, and a search space. All methods are for one thread, that
    of the service's loop.

    Args:
        most: rows to know; those that were asked for last are kept.
    """

    def __init__(self, most: int = MAX_KNOWN) -> None:
        self._most = most
        self._ready: frozenset[Hashable] = frozenset()
        self._known: OrderedDict[Hashable, None] = OrderedDict()
        self._asked: OrderedDict[Hashable, None] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "latcast-learning")
        self._learning: tuple[list[Hashable], Future[Answer]] | None = None

    def start(self) -> None:
        """Take shipped models for known, and what :func:`latcast.serve.calls.warm` forecasts."""
        asked: list[dict[str, Any]] = []
        for space in ({}, {"space": WARM_SPACE}):
            asked.append({"devices": WARM_DEVICES, **space})
            asked += [
                {"devices": [name], **space}
                for name in zoo.names("space")
                if zoo.header(name)["space"] == WARM_SPACE
            ]
        self._ready = frozenset(row for each in asked for row in rows_of(each))

    def close(self) -> None:
        """Learn no more; what is being learnt is waited for by the end of the process alone."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def answer(self, arguments: Mapping[str, Any], *, page: bool) -> Answer | None:
        """The forecast; None where a worker is to make it.

        Args:
            arguments: of a request for a forecast of architectures.
            page: whether a page is wanted.
        """
        self._take()
        rows = rows_of(arguments)
        if not rows or not all(row in self._ready or row in self._known for row in rows):
            return None
        self._add(self._known, [row for row in rows if row not in self._ready])
        return answer({"call": "forecast", "arguments": arguments, "page": page})

    def note(self, arguments: Mapping[str, Any]) -> None:
        """Note that a worker has made a forecast; the second time, it is learnt.

        Args:
            arguments: of the request.
        """
        rows = rows_of(arguments)
        if rows and self._learning is None and all(row in self._asked for row in rows):
            asked = {"call": "forecast", "arguments": dict(arguments)}
            self._learning = rows, self._thread.submit(answer, asked)
        self._add(self._asked, rows)

    def _take(self) -> None:
        """Take what was learnt for known."""
        if self._learning is not None and self._learning[1].done():
            rows, found = self._learning
            self._learning = None
            if found.exception() is None and found.result().status == 200:
                self._add(self._known, rows)

    def _add(self, to: OrderedDict[Hashable, None], rows: list[Hashable]) -> None:
        for row in rows:
            to[row] = None
            to.move_to_end(row)
        while len(to) > self._most:
            to.popitem(last=False)


def rows_of(arguments: Mapping[str, Any]) -> list[Hashable]:
    """The rows that must be known for the service to make a forecast, one for each target.

    Args:
        arguments: of a request.

    Returns:
        The rows; none where the request is of more than targets' forecasts of architectures.
    """
    if not arguments.keys() <= _ASIDE or isinstance(arguments.get("batch"), list):
        return []
    given = arguments.get("precision")
    precisions = given if isinstance(given, list) else [given]
    rest = tuple(arguments.get(name) for name in _REST)
    return [(d, p, *rest) for d in arguments.get("devices", ()) for p in precisions]
