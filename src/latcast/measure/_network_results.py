"""From a campaign of graphs to a dataset of networks."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from latcast.data import Dataset
from latcast.devices import Target
from latcast.graph import Graph
from latcast.graph.read.onnx import read_onnx

from ._campaign_file import CampaignFile, Visit
from ._onnx_networks import OnnxNetwork, content, family_of, from_text, model_bytes, name_of
from ._results import Results, results_of

BOOKED_SHARE = "share of profiles booked on layers"
"""Entry of a dataset's provenance."""

_NUMBER = re.compile(r"_(\d+)\Z")

Floats = npt.NDArray[np.float64]


def network_results(
    campaign: CampaignFile,
    provenance: Mapping[str, str] | None = None,
    *,
    like_ms: float | None = None,
) -> Results:
    """As :func:`latcast.measure.results`, of a campaign of graphs.

    The networks are built and files read again, for their graphs.

    Raises:
        ValueError: no network has been visited in two processes yet, a file or the rule of a
            family has changed, or the campaign is of a space's architectures.
        FileNotFoundError: a file is gone.
    """
    plan = campaign.plan()
    networks = networks_of(campaign)
    visits = campaign.visits()
    profiles, sizes = _profiles(visits), _sizes(visits)

    def dataset(rows: npt.NDArray[np.int64], **columns: Any) -> Dataset:
        batch, chosen = Target.parse(plan["target"]).batch, [networks[i] for i in rows]
        graphs = tuple(
            _graph(networks[i], batch, plan["seed"], sizes.get(int(i), ())) for i in rows
        )
        known = [profiles.get(int(i), {}) for i in rows]
        layers = tuple(map(layer_times, graphs, known))
        facts = {**columns.pop("provenance"), BOOKED_SHARE: _booked(layers, known)}
        return Dataset(
            graphs,
            names=tuple(map(name_of, chosen)),
            families=tuple(map(family_of, chosen)),
            layers=layers if any(known) else None,
            provenance=facts if any(known) else {**facts, BOOKED_SHARE: "no profiles"},
            **columns,
        )

    return results_of(campaign, dataset, provenance, like_ms)


def networks_of(campaign: CampaignFile) -> list[OnnxNetwork]:
    """What a campaign of graphs measures, in its order.

    Raises:
        ValueError: the campaign is of a space's architectures.
    """
    if (space := campaign.plan()["space"]) is not None:
        raise ValueError(
            f"{campaign.path} must be a campaign of networks of any kind; it is of {space}: use "
            "results"
        )
    return [from_text(item.decode()) for item in campaign.items()]


def layer_times(graph: Graph, profile: Mapping[int, float]) -> Floats:
    """Milliseconds by position of the graph's layers, shape (layers,).

    Args:
        graph: whose layers are called ``WORD_NUMBER``.
        profile: milliseconds by number.

    Returns:
        NaN where nothing is booked. Of layers with one number the last has its time.
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


def _booked(layers: Sequence[Floats], profiles: Sequence[Mapping[int, float]]) -> str:
    total = sum(sum(profile.values()) for profile in profiles)
    return f"{sum(float(np.nansum(x)) for x in layers) / total:.2%}" if total else "no profiles"


def _profiles(visits: Sequence[Visit]) -> dict[int, dict[int, float]]:
    """Number of an item -> its profile, where there is one."""
    profiles = {v.arch: v.details.get("profile_ms") for v in visits if v.round == 0}
    return {
        arch: {int(number): float(ms) for number, ms in profile.items()}
        for arch, profile in profiles.items()
        if profile
    }


def _sizes(visits: Sequence[Visit]) -> dict[int, set[int]]:
    """Number of an item -> bytes of its model in every visit that states them."""
    sizes: dict[int, set[int]] = {}
    for visit in visits:
        if (size := visit.details.get("model_bytes")) is not None:
            sizes.setdefault(visit.arch, set()).add(size)
    return sizes


def _graph(network: OnnxNetwork, batch: int, seed: int, sizes: Collection[int]) -> Graph:
    model = content(network, batch, seed)
    if sizes and set(sizes) != {size := model_bytes(model)}:
        raise ValueError(
            f"{name_of(network)} must be what was measured, {max(sizes)} bytes of ONNX; latcast "
            f"makes {size} of it now: use the version that measured it"
        )
    return replace(read_onnx(model, batch=batch), name=name_of(network))
