"""The contract of a host: it says what it is, keeps others out, and its workers answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from latcast.devices import Target
from latcast.measure import CampaignRunningError, Protocol, WorkerDiedError
from latcast.measure._sources import ArchSource
from latcast.measure.hosts import Host, HostError, host
from latcast.spaces import space

Check = Callable[[Host, Target], None]

QUICK = Protocol(
    runs=2, warm_up_s=0.0, run_s=0.02, min_samples=5, reference_s=0.0, other_cpus=1e9,
    cpu_share=0.0, halves_disagree=1.0, reference_disagrees=1.0,
)  # fmt: skip
"""Settings of runs that are over soon, whatever else the host does."""
# A board that imports its runtime for the first time compiles it.
PATIENCE_S = 300.0
_SPACE = "ofa-mobilenet-v3-w1.0"


def check_host(board: Host, target: Target) -> None:
    """Put a host through the contract.

    Args:
        board: the host, which is left open.
        target: what it can measure.

    Raises:
        AssertionError: it does not keep the contract.
        HostError: it cannot be reached.
    """
    for check in HOST_CHECKS:
        check(board, target)


def its_text_makes_it_again(board: Host, target: Target) -> None:  # noqa: ARG001
    """A campaign file finds it again by its text."""
    again = host(board.text)
    assert type(again) is type(board)
    assert (again.text, again.title) == (board.text, board.title)


def it_says_what_it_is(board: Host, target: Target) -> None:
    """Its facts name it, and the name stands in targets."""
    facts = board.facts()
    assert {"name", "system", "machine"} <= set(facts), "a host must state those"
    assert Target.parse(str(Target(facts["name"], target.runtime))).device == facts["name"]


def what_it_lacks_is_refused(board: Host, target: Target) -> None:
    """A target that it has is fine; a runtime that there is not is refused by its name."""
    board.check(target)
    assert board.runtime_text(target.runtime)
    for ask in (
        lambda: board.check(Target(target.device, "no-such-runtime", threads=1)),
        lambda: board.runtime_text("no-such-runtime"),
    ):
        message = ""
        try:
            ask()
        except ValueError as error:
            message = str(error)
        assert "no-such-runtime" in message, f"the runtime must be refused; got {message!r}"


def two_campaigns_refuse_each_other(board: Host, target: Target) -> None:  # noqa: ARG001
    """Whoever comes second is told of the first, and can go on once it has ended."""
    other = host(board.text)
    with other, board.lock(Path("first.campaign")):
        message = ""
        try:
            with other.lock(Path("second.campaign")):
                pass
        except CampaignRunningError as error:
            message = str(error)
        assert "first.campaign" in message, f"the first must be named; got {message!r}"
    with board.lock(Path("third.campaign")):
        pass


def a_worker_answers(board: Host, target: Target) -> None:
    """A run has its samples and those of the reference network, before and after."""
    worker = board.start(target, asdict(QUICK))
    try:
        assert {"runtime", "machine", "timer_s", "clock"} <= set(worker.facts)
        assert worker.facts["runtime"]["version"], "the runtime's version must be stated"
        assert worker.pid > 0
        request = {"network": board.text_of(_source(), target.batch, 0), "seed": 0}
        answer = worker.ask(request, PATIENCE_S)
        assert "failed" not in answer, answer.get("failed")
        assert len(answer["samples_ms"]) >= QUICK.min_samples
        assert min(answer["samples_ms"]) > 0
        assert [len(x) > 0 for x in answer["reference_ms"]] == [True, True]
        known = {"repeats", "inference_s", "load_s", "doubts", "machine"}
        assert known <= set(answer), f"an answer must state {', '.join(known - set(answer))}"
        # What cannot be measured says why, and costs no worker.
        failed = worker.ask({"network": "no network", "seed": 0}, PATIENCE_S)
        assert "no network" in failed["failed"]
        assert "samples_ms" in worker.ask(request, PATIENCE_S)
    finally:
        worker.close()
    with suppress(WorkerDiedError, HostError, ValueError):
        worker.ask(request, 5)
        raise AssertionError("a closed worker must not answer")


def nobody_waits_longer_than_asked(board: Host, target: Target) -> None:
    """A worker that does not answer in time is ended; the next one is fresh."""
    started = time.monotonic()
    worker = board.start(target, asdict(QUICK))
    message = ""
    try:
        worker.ask({"network": board.text_of(_source(), target.batch, 0), "seed": 0}, 0.0)
    except WorkerDiedError as error:
        message = str(error)
    finally:
        worker.close()
    assert message, "an answer that is late must be no answer"
    assert time.monotonic() - started < PATIENCE_S


def it_can_be_closed_twice(board: Host, target: Target) -> None:  # noqa: ARG001
    """A host whose link is closed opens it again when it is asked."""
    other = host(board.text)
    other.close()
    assert other.facts()["name"]
    other.close()
    other.close()


def _source() -> ArchSource:
    the_space = space(_SPACE)
    genes = the_space.sample(1, 0, restrict={"r": [224]}).genes
    return ArchSource(the_space.name, tuple(genes[0].tolist()))


HOST_CHECKS: tuple[Check, ...] = (
    its_text_makes_it_again,
    it_says_what_it_is,
    what_it_lacks_is_refused,
    two_campaigns_refuse_each_other,
    a_worker_answers,
    nobody_waits_longer_than_asked,
    it_can_be_closed_twice,
)
"""The parts of the contract, each of which takes a host and a target that it can measure."""
