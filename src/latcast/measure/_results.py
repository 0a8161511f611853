"""Datasets from a campaign's raw runs, with their doubts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.data import UNSTABLE, Dataset
from latcast.devices import Target
from latcast.graph import Graph, as_run
from latcast.math.drift import medians_by_network

from . import _machine
from ._campaign_file import CampaignFile, Run
from ._drift import Drift, Runs, States
from ._protocol import Protocol
from ._sources import NetworkSource, archs_of, model_bytes

# A single run cannot tell its own scatter.
MIN_RUNS = 2
# A clock tells no more of a pass than that.
SAMPLE_DIGITS = 5
REFERENCE_LEVEL = "reference network, ms"
"""Entry of a dataset's provenance."""
# Likewise, of graphs.
ATTRIBUTED_SHARE = "share of profiles attributed to layers"
_FEW_SAMPLES = 6
# Networks that boards must share before it is told that they differ on them.
_MIN_SHARED = 5
# Boards that differ by at least such a share of the farthest's gap may be what it differs from; of
# more than so many, which are tried one by one, the farthest is taken.
_AS_FAR, _MOST_TRIED = 0.7, 8
_STEAL = 0.01
_CLOCKS_DIFFER = 0.05
_OFTEN = 0.05
# Share of a model's bytes that may differ from what a campaign of schema 1 states: the writer of
# that time gave nodes and tensors other names.
_OTHER_NAMES = 1e-3
_NUMBER = re.compile(r"_(\d+)\Z")

Floats = npt.NDArray[np.float64]


class NoLatencyError(ValueError):
    """No network of a campaign has been run often enough yet."""


@dataclass(frozen=True, eq=False)
class Results:
    """The results of a campaign.

    Attributes:
        dataset: one row per network.
        drift: of the machine, at every accepted run.
        reference_ms: the reference network's latency in the state that latencies belong to.
        failures: networks that could not be measured (number in the campaign -> reason).
        unfinished: networks left out: fewer than 2 runs in 2 processes so far.
        inference_share: share of the time between first and last run that was inference.
        warnings: doubts about the campaign as a whole, a sentence each.
    """

    dataset: Dataset
    drift: Drift
    reference_ms: float
    failures: Mapping[int, str]
    unfinished: int
    inference_share: float
    warnings: Sequence[str]

    @property
    def unstable(self) -> npt.NDArray[np.bool_]:
        """Rows of the dataset whose latency is not known to 3 %, shape (n,)."""
        return self.dataset.unstable


def results(
    campaign: CampaignFile,
    provenance: Mapping[str, str] | None = None,
    *,
    like_ms: float | None = None,
) -> Results:
    """Correct the drift, and take medians of the runs' medians.

    The dataset is of architectures where all networks are of one search space. Of all others it
    holds graphs: variants are built and files read again for them.

    Args:
        campaign: an open campaign file, finished or not.
        provenance: what the dataset shall say of its source and licence besides.
        like_ms: level of the reference network (:attr:`Results.reference_ms`) in an earlier
            campaign on the same target: latencies are those of the machine in that state. By
            default they are those of its median state in this campaign.

    Raises:
        NoLatencyError: no network has been run in two processes yet.
        ValueError: a file or the rule of a family has changed.
        FileNotFoundError: a file is gone.
    """
    plan, sources, every = campaign.plan(), campaign.networks(), campaign.runs()
    _check_numbers(campaign, every, len(sources))
    accepted = [run for run in every if run.accepted]
    kept = _run_enough(accepted, len(sources))
    failures = campaign.failures()
    started = len({run.network for run in every} - set(failures))
    if not kept.any():
        raise NoLatencyError(
            f"{campaign.path} must have at least {MIN_RUNS} runs of a network in as many "
            f"processes; it has {len(accepted)} runs so far: go on with --resume"
        )
    protocol = Protocol(**plan["protocol"])
    states = _states(campaign, accepted, protocol, like_ms)
    drift, level = states.drift, states.level_ms
    rows, columns = _columns(accepted, states, kept)
    columns |= _networks(sources, rows, every, plan)
    facts = _facts(campaign, plan, drift, accepted, failures)
    facts |= {REFERENCE_LEVEL: f"{level:.6g}", **columns.pop("provenance"), **(provenance or {})}
    dataset = Dataset(**columns, target=Target.parse(plan["target"]), provenance=facts)
    return Results(
        dataset=dataset,
        drift=drift,
        reference_ms=level,
        failures=failures,
        unfinished=started - int(kept.sum()),
        inference_share=_inference_share(every),
        warnings=_warnings(campaign, every, dataset, protocol, states),
    )


def corrected_medians(campaign: CampaignFile) -> Floats:
    """Median of every network's runs without the drift, ms, shape (networks,); NaN: not run."""
    accepted = [run for run in campaign.runs() if run.accepted]
    states = _states(campaign, accepted, Protocol(**campaign.plan()["protocol"]))
    return states.medians(states.drift.corrected_ms, len(campaign.networks()))


def as_runs(accepted: Sequence[Run]) -> Runs:
    """The runs' medians, as the drift estimator takes them."""
    return Runs(
        network=np.array([run.network for run in accepted]),
        process=np.array([run.process for run in accepted]),
        latency_ms=np.array([np.median(run.samples_ms) for run in accepted]),
        reference_ms=np.array([[np.median(r) for r in run.reference_ms] for run in accepted]),
        time_s=np.maximum.accumulate([run.time_s for run in accepted]),  # a wall clock can be set
    )


# -- the latencies -----------------------------------------------------------------------------


def _states(
    campaign: CampaignFile,
    accepted: Sequence[Run],
    protocol: Protocol,
    like_ms: float | None = None,
) -> States:
    loaded = np.array([_is_loaded(run, protocol) for run in accepted])
    hosts = hosts_of(campaign, accepted)
    board = np.unique(hosts, return_inverse=True)[1]
    return States.of_fleet(as_runs(accepted), board, loaded, protocol.reference_disagrees, like_ms)


def hosts_of(campaign: CampaignFile, runs: Sequence[Run]) -> list[str]:
    """Text of the host that made each run, where several shared them; else empty."""
    stated = {n: str(facts.get("host", "")) for n, facts in campaign.processes().items()}
    return [stated[run.process] for run in runs]


def _check_numbers(campaign: CampaignFile, runs: Sequence[Run], networks: int) -> None:
    """Make sure that runs are of networks and processes that the campaign has.

    Raises:
        ValueError: one is not.
    """
    processes = campaign.processes()
    for facts in processes.values():
        if not all(isinstance(facts.get(part), dict) for part in ("runtime", "machine")):
            raise ValueError(
                f"{campaign.path} is a damaged campaign file: a process lacks runtime or machine"
            )
    for run in runs:
        if run.process not in processes or not 0 <= run.network < networks:
            raise ValueError(
                f"{campaign.path} is a damaged campaign file: it has a run of network "
                f"{run.network} in process {run.process}, one of which it lacks"
            )
        details, machine = run.details, run.details.get("machine")
        numbers = [details.get("inference_s"), details.get("cpu_share", 1.0)]
        numbers.append(machine.get("other_cpus", 0.0) if isinstance(machine, dict) else None)
        is_told = all(isinstance(number, int | float) for number in numbers)
        if not is_told or not isinstance(details.get("doubts"), list):
            raise ValueError(
                f"{campaign.path} is a damaged campaign file: a run of network {run.network} lacks "
                "details that every run has, such as its machine"
            )


def _is_loaded(run: Run, protocol: Protocol) -> bool:
    """Whether the system says that other work may have slowed a run."""
    if run.details.get("clock") == "cpu":
        return False  # waiting does not lengthen it; the reference network tells what else does
    others = run.details["machine"].get("other_cpus", 0.0)
    return bool(
        others > protocol.other_cpus or run.details.get("cpu_share", 1.0) < protocol.cpu_share
    )


def _run_enough(accepted: Sequence[Run], n: int) -> npt.NDArray[np.bool_]:
    pairs = {(run.network, run.process) for run in accepted}
    counts = np.bincount([network for network, _ in pairs], minlength=n) if pairs else np.zeros(n)
    return np.asarray(counts >= MIN_RUNS)


def _columns(
    accepted: Sequence[Run], states: States, kept: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    """Numbers of the networks that were measured, in the order of their runs, and their columns."""
    runs, drift, n = states.runs, states.drift, len(kept)
    by_network: list[list[Floats]] = [[] for _ in range(n)]
    for run in accepted:
        by_network[run.network].append(run.samples_ms)
    error = _standard_error(states, n)
    # Other work slows a run by what no repetition shows: nothing is known of its error.
    unknown = _mostly(states.busy, runs.network, n)
    first = np.full(n, len(accepted))
    np.minimum.at(first, runs.network, np.arange(len(accepted)))
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(first[rows])]
    return rows, {
        "values": states.medians(drift.corrected_ms, n)[rows],
        "order": first[rows],
        "reference": states.medians(runs.reference_ms.mean(axis=1), n)[rows],
        "samples": tuple(_rounded(np.concatenate(by_network[i])) for i in rows),
        "uncorrected": medians_by_network(runs.network, runs.latency_ms, n)[rows],
        "standard_error": np.where(unknown, np.nan, error)[rows],
    }


def _mostly(
    what: npt.NDArray[np.bool_], network: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.bool_]:
    """Whether it is true of more than half of the runs of each network, shape (n,)."""
    return np.asarray(
        np.bincount(network, what, minlength=n) > np.bincount(network, minlength=n) / 2
    )


def _standard_error(states: States, n: int) -> Floats:
    """Relative standard error of every median of medians, shape (n,).

    With few runs each, a network's own spread says little: the variance is a mean of its own and
    the campaign's, weighted by degrees of freedom (4 for the campaign's). A median of normal
    values has an efficiency of 2/π.
    """
    counted, noise = states.counted(n), states.noise()
    network, log = states.runs.network[counted], np.log(states.drift.corrected_ms[counted])
    count = np.bincount(network, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(network, log, minlength=n) / count
        squares = np.bincount(network, (log - mean[network]) ** 2, minlength=n)
        variance = (squares + 4 * noise**2) / (count - 1 + 4)
        return np.asarray(np.sqrt(np.pi / 2 * variance / count))


def _rounded(samples: Floats) -> Floats:
    """To 5 digits, a hundredth of what any clock and any network can repeat: files stay small."""
    decimals = SAMPLE_DIGITS - 1 - int(np.floor(np.log10(np.median(samples))))
    return np.asarray(np.round(samples, decimals))


# -- the networks ------------------------------------------------------------------------------


def _networks(
    sources: Sequence[NetworkSource],
    rows: npt.NDArray[np.int64],
    runs: Sequence[Run],
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    """Columns of the dataset that say which networks its rows are of, and ``provenance``."""
    if (archs := archs_of(sources)) is not None:
        return {"networks": archs[rows], "provenance": {}}
    profiles, sizes = profiles_of(runs), _sizes(runs)
    tolerance = _OTHER_NAMES if "unit" in plan else 0.0  # of schema 1
    target, chosen = Target.parse(plan["target"]), [sources[i] for i in rows]
    graphs = tuple(
        as_run(
            _graph(source, target.batch, plan["seed"], sizes.get(int(i), ()), tolerance),
            target.runtime,
            target.precision,
        )
        for i, source in zip(rows, chosen, strict=True)
    )
    known = [profiles.get(int(i), {}) for i in rows]
    layers = tuple(map(layer_times, graphs, known))
    return {
        "networks": graphs,
        "names": tuple(source.name for source in chosen),
        "families": tuple(source.family for source in chosen),
        "layers": layers if any(known) else None,
        "provenance": {ATTRIBUTED_SHARE: _attributed_share(layers, known)},
    }


def layer_times(graph: Graph, profile: Mapping[int, float]) -> Floats:
    """Milliseconds by position of the graph's layers, shape (layers,).

    Args:
        graph: whose layers are called ``WORD_NUMBER``.
        profile: milliseconds by number.

    Returns:
        NaN where nothing is attributed. Of layers with one number the last has its time.
    """
    positions = {
        int(found[1]): n
        for n, layer in enumerate(graph.layers)
        if (found := _NUMBER.search(layer.name))
    }
    times = np.full(len(graph), np.nan)
    for number, ms in profile.items():
        if (n := positions.get(number)) is not None:
            times[n] = ms
    return times


def _attributed_share(layers: Sequence[Floats], profiles: Sequence[Mapping[int, float]]) -> str:
    total = sum(sum(profile.values()) for profile in profiles)
    return f"{sum(float(np.nansum(x)) for x in layers) / total:.2%}" if total else "no profiles"


def profiles_of(runs: Sequence[Run]) -> dict[int, dict[int, float]]:
    """Number of a network -> its profile, milliseconds by number of a layer, where there is one."""
    profiles = {run.network: run.details.get("profile_ms") for run in runs if run.round == 0}
    return {
        network: {int(number): float(ms) for number, ms in profile.items()}
        for network, profile in profiles.items()
        if profile
    }


def _sizes(runs: Sequence[Run]) -> dict[int, set[int]]:
    """Number of a network -> bytes of its model in every run that states them."""
    sizes: dict[int, set[int]] = {}
    for run in runs:
        if (size := run.details.get("model_bytes")) is not None:
            sizes.setdefault(run.network, set()).add(size)
    return sizes


def _graph(
    source: NetworkSource, batch: int, seed: int, sizes: Collection[int], tolerance: float
) -> Graph:
    model = source.model(batch, seed)
    if isinstance(model, Graph):
        return replace(model.with_batch(batch), name=source.name)
    size = model_bytes(model)
    if any(abs(measured - size) > tolerance * size for measured in sizes):
        raise ValueError(
            f"{source.name} must be what was measured, {max(sizes)} bytes of ONNX; latcast makes "
            f"{size} of it now: use the version that measured it"
        )
    from latcast.graph.read import read_as_run  # architectures are not read again

    return read_as_run(model, source.asked, batch).named(source.name)


# -- what is said of them ----------------------------------------------------------------------


def _facts(
    campaign: CampaignFile,
    plan: Mapping[str, Any],
    drift: Drift,
    accepted: Sequence[Run],
    failures: Mapping[int, str],
) -> dict[str, str]:
    processes = campaign.processes()
    stated = next(iter(processes.values()))
    return {
        "method": (
            "measured by latcast measure: median of the runs' medians, drift of the machine "
            "estimated and taken out (uncorrected_ms is without that)"
        ),
        "runs": str(len(accepted)),
        "processes": str(len(processes)),
        **({"hosts": ", ".join(boards)} if (boards := _boards(processes)) else {}),
        "failed": str(len(failures)),
        "drift range": f"{drift.range:.2%}",
        "noise of a run": f"{drift.noise:.2%}",
        "protocol": ", ".join(f"{k} {v}" for k, v in plan["protocol"].items()),
        "seed": str(plan["seed"]),
        **({"clock": stated["clock"]} if "clock" in stated else {}),
        **{f"runtime {k}": v for k, v in stated["runtime"].items()},
        **{f"machine {k}": v for k, v in stated["machine"].items()},
        **_medians(accepted),
    }


def _medians(accepted: Sequence[Run]) -> dict[str, str]:
    """Return the medians of facts that change from run to run, over the runs that have them."""
    found = {}
    for name, key in (("clock, MHz", "clock_mhz"), ("temperature, °C", "temperature_c")):
        known = [run.details["machine"][key] for run in accepted if key in run.details["machine"]]
        if known:
            found[f"machine {name}"] = f"{float(np.median(known)):.4g}"
    return found


def _boards(processes: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Texts of the hosts that shared the networks; none where one had all."""
    return sorted({str(facts["host"]) for facts in processes.values() if "host" in facts})


def _inference_share(runs: Sequence[Run]) -> float:
    """Inference seconds over the seconds that runs took, and the gaps between them.

    Gaps of more than a minute are interruptions of the campaign, not part of it.
    """
    ends = np.array([run.time_s for run in runs])
    gaps = np.diff(ends)
    inference = np.array([run.details["inference_s"] for run in runs])[1:]
    running = gaps < 60
    return float(inference[running].sum() / gaps[running].sum()) if running.any() else float("nan")


def _warnings(
    campaign: CampaignFile,
    runs: Sequence[Run],
    dataset: Dataset,
    protocol: Protocol,
    states: States,
) -> list[str]:
    facts = next(iter(campaign.processes().values()))
    found = _machine.setting_doubts(facts["machine"])
    machine = [run.details["machine"] for run in runs]
    busy = [m.get("other_cpus", 0.0) > protocol.other_cpus for m in machine]
    if np.mean(busy) > _OFTEN:
        mean = np.mean([m.get("other_cpus", 0.0) for m in machine])
        found.append(
            f"loaded machine: during {100 * np.mean(busy):.0f} % of the runs other programs "
            "kept CPUs "
            f"busy ({mean:.1f} on average); measure on an idle machine"
        )
    found += _doubts_about_states(runs, states, protocol)
    found += _doubts_about_boards(campaign, runs, states)
    steal = [m.get("steal", 0.0) > _STEAL for m in machine]
    if np.mean(steal) > _OFTEN:
        found.append(
            f"steal time: during {100 * np.mean(steal):.0f} % of the runs the hypervisor gave "
            "CPU time "
            "to other machines; use a machine of your own"
        )
    throttled = sum(m.get("throttled", 0) > 0 for m in machine)
    if throttled:
        found.append(f"throttling: the CPU was too hot during {throttled} runs; cool it")
    clocks = [m["clock_mhz"] for m in machine if m.get("clock_mhz")]
    if clocks and (gap := max(clocks) / min(clocks) - 1) > _CLOCKS_DIFFER:
        found.append(f"frequency scaling: the CPU's clock varied by {100 * gap:.0f} %; fix it")
    found += _doubts_about_runs(runs)
    kept = {run.network: run.details["denormals"] for run in runs if "denormals" in run.details}
    if kept:
        names = campaign.networks()
        found.append(
            "denormals: the runtime keeps denormal numbers, which can take a CPU many times as "
            f"long ({', '.join(f'{names[n].name}: {count:,}' for n, count in kept.items())})"
        )
    if unstable := int(dataset.unstable.sum()):
        found.append(
            f"unstable: {unstable} of {len(dataset)} latencies are not known to "
            f"{100 * UNSTABLE:.0f} %: "
            f"{dataset.row_names(dataset.unstable)}; measure with more --runs, or leave them out "
            "by their standard_error"
        )
    return found


def _doubts_about_states(runs: Sequence[Run], states: States, protocol: Protocol) -> Iterator[str]:
    """Yield doubts: runs that waited for CPUs, and the reference network off its level."""
    shares = [run.details.get("cpu_share", 1.0) for run in runs]
    waited = sum(share < protocol.cpu_share for share in shares)
    if waited > _OFTEN * len(runs):
        yield (
            f"waiting: in {waited} of {len(runs)} runs the passes had their CPU for less than "
            f"{100 * protocol.cpu_share:.0f} % of their time (down to {100 * min(shares):.0f} %)"
        )
    if states.off.any():
        times = np.exp(states.away[states.off])
        yield (
            f"speed: around {len(times)} of {len(states.off)} accepted runs the reference network "
            f"took {times.min():.2f} to {times.max():.2f} times what the drift explains; they are "
            "corrected by it, and count only for networks without other runs"
        )


def _doubts_about_boards(
    campaign: CampaignFile, runs: Sequence[Run], states: States
) -> Iterator[str]:
    """Yield doubts about boards of another kind: networks differ where the reference does not."""
    accepted = [run for run in runs if run.accepted]
    hosts = np.array(hosts_of(campaign, accepted))
    log, network = np.log(states.drift.corrected_ms), states.runs.network
    for name, gap in boards_apart(log, network, hosts):
        yield (
            f"another board: {name} takes {100 * gap:+.1f} % on networks that other hosts ran "
            "too, at the "
            "same time of the reference network: it is of another kind, or in another state; "
            "measure without it"
        )


def boards_apart(
    log: Floats, network: npt.NDArray[np.int64], hosts: npt.NDArray[np.str_]
) -> Iterator[tuple[str, float]]:
    """Yield boards that take longer or shorter than others on the networks that both ran.

    The farthest off is the first to go: those that shared its networks seem off, too. One that
    shared them with it alone seems as far; then it is that without which the others agree best.

    Args:
        log: log ms of runs, corrected to one state, shape (n,).
        network: of each run, shape (n,).
        hosts: that made it, shape (n,).

    Yields:
        Its name, and by what share its median is off the others'.
    """
    left = sorted(set(hosts.tolist()))
    while len(left) > 1:
        gaps = _gaps(log, network, hosts, left)
        largest = _largest(gaps)
        if np.expm1(largest) <= UNSTABLE:
            return
        far = [name for name in left if abs(gaps[name]) > _AS_FAR * largest]
        worst = max(far, key=lambda name: abs(gaps[name]))
        if 1 < len(far) <= _MOST_TRIED:
            without = {name: [n for n in left if n != name] for name in far}
            worst = min(far, key=lambda name: _largest(_gaps(log, network, hosts, without[name])))
        yield worst, float(np.expm1(gaps[worst]))
        left.remove(worst)


def _largest(gaps: Mapping[str, float]) -> float:
    return max(map(abs, gaps.values()), default=0.0)


def _gaps(
    log: Floats, network: npt.NDArray[np.int64], hosts: npt.NDArray[np.str_], of: Sequence[str]
) -> dict[str, float]:
    """Each board's :func:`_gap` from the others among some boards."""
    among = np.isin(hosts, [*of])
    return {name: _gap(log, network, hosts == name, among) for name in of}


def _gap(
    log: Floats,
    network: npt.NDArray[np.int64],
    own: npt.NDArray[np.bool_],
    of: npt.NDArray[np.bool_],
) -> float:
    """Median difference of a board's logarithms from the others', over networks that both ran."""
    others = of & ~own
    shared = np.intersect1d(network[own], network[others])
    if len(shared) < _MIN_SHARED:
        return 0.0
    at = [(own & (network == n), others & (network == n)) for n in shared]
    return float(np.median([np.median(log[mine]) - np.median(log[theirs]) for mine, theirs in at]))


def _doubts_about_runs(runs: Sequence[Run]) -> list[str]:
    doubts = (doubt for run in runs if run.accepted for doubt in run.details["doubts"])
    kinds = Counter(d.split(" disagree")[0] for d in doubts if " disagree" in d)
    accepted = sum(run.accepted for run in runs)
    found = [
        f"unstable runs: {count} of {accepted} were accepted although {kind} disagreed again"
        for kind, count in kinds.items()
        if count > _OFTEN * accepted
    ]
    # A tool's sample is of several passes.
    few = sum(
        run.accepted and run.details.get("passes", len(run.samples_ms)) < _FEW_SAMPLES
        for run in runs
    )
    if any("passes" in run.details for run in runs):
        found.append(
            "samples: each is the median or the mean of a tool's passes; percentiles of single "
            "passes are not known"
        )
    if few:
        found.append(f"too few samples: {few} runs have fewer than {_FEW_SAMPLES}")
    return found
