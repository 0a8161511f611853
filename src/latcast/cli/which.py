"""``latcast which``: the devices that run a network within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import typer

from ._console import FAILED, OUTPUT, REQUIRED, Console, UsageError, argument, command, option
from ._options import (
    BUDGETS,
    TARGET,
    Devices,
    FileInputs,
    Server,
    at,
    check_network,
    check_share,
    parse_milliseconds,
    read_options,
    resolving,
    split_names,
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Options of the budget that a device must keep."""

    panel: ClassVar[str] = BUDGETS

    max_latency: str = option(
        "Budget for a whole batch, in ms, or with its unit, such as 50ms.", REQUIRED, metavar="MS"
    )
    at_least: str = option(
        "Chance that is enough: certain, likely or unlikely (exit code 0).", "likely"
    )


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Options of the targets that are considered."""

    panel: ClassVar[str] = TARGET

    device: list[str] | None = option(
        "A device of the catalogue, several between commas; all by default.", callback=split_names
    )
    kind: str | None = option("All devices of a kind: cpu, phone, gpu, …")
    runtime: list[str] | None = option("Of these runtimes only.", callback=split_names)
    precision: str | None = option("In these only, such as fp32,int8.")
    batch: int | None = option("Samples a forward pass.", min=1)
    threads: int | None = option("Of CPUs; all cores by default.", min=1)

    def devices(self) -> list[str] | None:
        """Names of the devices that are asked about; None for all.

        Raises:
            UsageError: there is no such kind.
        """
        from latcast._names import unknown_name
        from latcast.devices import KINDS, devices

        if self.kind is None:
            return self.device or None
        if self.kind not in KINDS:
            raise UsageError(unknown_name("kind of device", self.kind, KINDS))
        return [*(self.device or ()), *(d.name for d in devices().values() if d.kind == self.kind)]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Options of the output."""

    panel: ClassVar[str] = OUTPUT

    limit: int = option("Devices to list.", 20, min=1)
    all: bool = option("List all targets.", False)


@command
def which(
    console: Console,
    *,
    network: Path = argument("A model's file, - for standard input, or timm:NAME."),
    budget: Budget,
    targets: Targets,
    inputs: FileInputs,
    shown: Shown,
    coverage: float = option("Of the intervals.", 0.9),
    devices: Devices = None,
    server: Server = None,
) -> None:
    """Rank devices, runtimes and precisions by their chance to run a network within a budget.

    certain is a P(within budget) of 95 % or more, likely of 50, unlikely of 5. The exit code is 0
    where a target of a device that was asked for is at least likely (--at-least), 1 where none is,
    and 2 for wrong usage. Devices whose only chance is a wide interval are counted as undecided.

    Example: latcast which model.onnx --max-latency 10 --device raspberry-pi-4 --device rtx-4090
    """
    from latcast.search.which import which as ranked

    check_network(network)
    check_share(coverage, "--coverage")
    max_latency_ms = parse_milliseconds(budget.max_latency)
    asked = read_options(inputs)
    with resolving(), console.progress("forecasting on devices"):
        found = at(server, ranked, devices)(
            network, max_latency_ms, devices=targets.devices(), runtimes=targets.runtime,
            precisions=targets.precision.split(",") if targets.precision else None,
            batch=targets.batch, threads=targets.threads, at_least=budget.at_least,
            coverage=coverage, shapes=asked.shapes, batch_axis=asked.batch_axis,
            trip_count=asked.trip_count,
        )  # fmt: skip
    tables = found.tables(None if shown.all else shown.limit)
    console.show(found, [f"{found.answer()}\n", *tables])
    if not found.is_met:
        raise typer.Exit(FAILED)
