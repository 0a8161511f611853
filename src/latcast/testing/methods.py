"""The contract of a search method."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latcast.search import Method, Progress, SearchResult, search


def check_method(make: Callable[[], Method], folder: str | Path, **options: Any) -> None:
    """Check that a search method keeps the contract of :class:`latcast.search.Method`.

    It has a name and settings that make it anew; the same seed gives the same result; it evaluates
    no more networks than it may; what it finds keeps budgets; a search that was interrupted goes on
    from its checkpoint to the same end.

    Args:
        make: makes the method, with settings that evaluate a few thousand networks.
        folder: empty, for a checkpoint.
        options: of :func:`latcast.search.search`; by default Once-For-All's MobileNetV3 on a
            phone, within 20 and 30 ms.

    Raises:
        AssertionError: a part of the contract is broken; the message says which.
    """
    method = make()
    assert isinstance(method, Method), f"must be a latcast.search.Method; got {method!r}"
    settings = json.loads(json.dumps(method.settings()))
    assert type(method)(**settings).settings() == settings, "settings must make the method anew"

    asked: dict[str, Any] = {
        "space": "ofa-mobilenet-v3", "latency": "samsung-note10", "max_latency_ms": [20, 30],
        "seed": 3,
    }  # fmt: skip
    asked |= options

    def run(**changes: Any) -> SearchResult:
        return search(**{**asked, "method": make(), **changes})

    whole, again = run(), run()
    assert whole.method == method.name, "the result must name the method"
    assert whole.front.archs == again.front.archs, "the same seed must give the same result"
    if method.evaluations:
        assert whole.evaluations <= method.evaluations, "evaluations must be bounded by the setting"
    within = whole.front.counted_ms <= whole.max_latency_ms.max(axis=0)
    assert within.all(), "networks of the front must be within the largest budget"

    told: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        told.append(progress)
        if progress.evaluations >= whole.evaluations / 2:
            raise KeyboardInterrupt

    checkpoint = Path(folder) / "search.checkpoint"
    first = run(checkpoint=checkpoint, progress=interrupt)
    assert first.stopped == "interrupted", "an interruption must end the search"
    rest = run(checkpoint=checkpoint, resume=True)
    assert rest.evaluations == whole.evaluations, "a resumed search must evaluate as many networks"
    assert rest.front.archs == whole.front.archs, "a resumed search must come to the same end"
