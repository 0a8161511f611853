"""``latcast choose``: the most accurate pretrained models that are fast enough on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ._console import OUTPUT, REQUIRED, Console, UsageError, command, option, usage
from ._measuring import campaign_bar
from ._options import (
    BUDGETS,
    INPUT,
    MEASURING,
    TARGET,
    Devices,
    HostText,
    Server,
    TargetOptions,
    at,
    check_share,
    find_host,
    parse_count,
    parse_milliseconds,
    resolving,
)

if TYPE_CHECKING:
    from latcast.search.choose import Choice


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Options that limit the models to choose from."""

    panel: ClassVar[str] = BUDGETS

    max_latency: str = option(
        "Budget for a whole batch, in ms, or with its unit, such as 50ms.", REQUIRED, metavar="MS"
    )
    confidence: float | None = option("Least P(within budget); by default the forecast is.")
    max_memory: str | None = option("Weights and activations at most, such as 200MB.")


@dataclass(frozen=True, kw_only=True)
class Verifying:
    """How to check on a machine what is found."""

    panel: ClassVar[str] = MEASURING

    verify: int | None = option("Measure so many of the best, here or at --host.", min=1)
    runs: int | None = option("Runs of each, in as many processes.", min=2)
    host: HostText = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Options of the output."""

    panel: ClassVar[str] = OUTPUT

    limit: int = option("Models to list.", 15, min=1)
    all: bool = option("List the whole front.", False)


@command
def choose(
    console: Console,
    *,
    device: str = option(
        "A device of the catalogue, a shipped model, or a .latcast file.", REQUIRED, panel=TARGET
    ),
    limits: Limits,
    target: TargetOptions,
    verifying: Verifying,
    shown: Shown,
    task: str = option("Of the accuracies: imagenet.", "imagenet", panel=INPUT),
    accuracies: Path | None = option(
        "timm's results-imagenet.csv, or a folder of public tables (LATCAST_DATA).", panel=INPUT
    ),
    coverage: float = option("Of the intervals.", 0.9),
    devices: Devices = None,
    server: Server = None,
) -> None:
    """Choose pretrained image models: the most accurate that are fast enough.

    All pretrained models of timm are forecast; listed are those that no other beats in both
    accuracy and latency. Accuracies are of the fp32 weights.

    Example: latcast choose --device raspberry-pi-4 --max-latency 50
    """
    from latcast.search.choose import choose as chosen
    from latcast.search.choose import verify_choice

    check_share(coverage, "--coverage")
    if limits.confidence is not None:
        check_share(limits.confidence, "--confidence")
    max_latency_ms = parse_milliseconds(limits.max_latency)
    for name in ("runs", "host"):
        if getattr(verifying, name) is not None and verifying.verify is None:
            raise UsageError(f"--{name}: only with --verify, which measures")
    with resolving(), console.progress("forecasting pretrained models"):
        found = at(server, chosen, devices)(
            device, max_latency_ms, task=task, accuracies=accuracies, coverage=coverage,
            max_memory_bytes=parse_count(limits.max_memory, "--max-memory", "B"),
            confidence=limits.confidence, **target.given(),
        )  # fmt: skip
    console.name_file(found.accuracies)
    if verifying.verify is not None:
        with find_host(verifying.host) as board:
            console.note(f"measuring {verifying.verify} of {len(found.models)} on {board.title}")
            with campaign_bar(console) as tell, usage():
                found = verify_choice(
                    found, verifying.verify, runs=verifying.runs, on=board, on_progress=tell
                )
    _show(console, found, shown)


def _show(console: Console, found: Choice, shown: Shown) -> None:
    console.show(found, found.tables(None if shown.all else shown.limit))
