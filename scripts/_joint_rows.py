"""Rows of HELP, OFANAS and our own campaigns as the joint model takes them.

A target has the rows that its layer model was made from, and the same networks are left out to be
scored on: so both can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from _sources import SEED, chosen, sources

from latcast.data import Dataset
from latcast.devices import Target
from latcast.graph import Rule, rules_of
from latcast.models.joint import FUSES_AS, Observations, Question
from latcast.models.training import Parts, parts
from latcast.networks import Networks
from latcast.spaces import Archs

TABLES = ("help", "ofanas", "measured")
"""Names of these tables: HELP, OFANAS and what we measured ourselves."""


class Campaign(NamedTuple):
    """Measurements of networks on one target.

    Attributes:
        table: one of :data:`TABLES`.
        name: of the target's layer model.
        parts: its datasets, split by network.
    """

    table: str
    name: str
    parts: Parts

    @property
    def target(self) -> Target:
        """The target that all of its rows are of."""
        return self.parts.whole[0].target


def campaigns(
    data: Path, measured: Path, tables: Sequence[str] = TABLES, only: str = ""
) -> list[Campaign]:
    """All campaigns of some tables.

    Args:
        data: folder with ``ofanas/`` and ``help/``.
        measured: folder of our datasets.
        tables: of :data:`TABLES`.
        only: what the names of the targets' layer models must have in them.
    """
    found = []
    for name, paths in sorted(sources(data, measured).items()):
        table = next((t for t in TABLES[:2] if t in paths[0].parts), TABLES[2])
        if table in tables and only in name:
            found.append(Campaign(table, name, parts(*chosen(paths), seed=SEED)))
    return found


def observations(
    datasets: Iterable[Dataset], domains: Sequence[str] = (), rows: int | None = None
) -> Observations:
    """Rows of datasets, each of one target.

    Networks that several targets share are one row of the networks where they run as the same
    kernels; a target goes by its whole name, and its domain by what runs there.

    Args:
        datasets: of architectures of a space, or of graphs.
        domains: that other tables have, whose names are taken where they are of the same runtime.
        rows: of a dataset at most, the first of an order at random; all by default.
    """
    pool = _Pool()
    found = []
    targets: dict[str, int] = {}
    facts = []
    for whole in datasets:
        order = np.random.default_rng(SEED).permutation(len(whole))
        data = whole if rows is None else whole[order[:rows]]
        if str(data.target) not in targets:
            targets[str(data.target)] = len(targets)
            facts.append(Question.of_target(data.target, dict.fromkeys(domains, ())).facts)
        known = data.standard_error
        scatter = np.zeros(len(data)) if known is None else np.nan_to_num(known)
        target = np.full(len(data), targets[str(data.target)])
        found.append((pool.add(data), target, np.log(data.values), scatter))
    network, target, log_ms, scatter = (np.concatenate(x) for x in zip(*found, strict=True))
    networks, names, families, places = pool.networks()
    return Observations(
        networks, names, families, tuple(facts), places[network], target, log_ms, scatter
    )


# What networks of one kind have in common: a space, or none; their batch, the rules that fuse them
# and, of graphs, the precision.
_Key = tuple[str, int, tuple[Rule, ...], str]


class _Pool:
    """Distinct networks of many datasets, numbered as they come."""

    def __init__(self) -> None:
        self._numbers: dict[_Key, dict[str, int]] = {}
        self._names: list[str] = []
        self._families: list[str] = []
        # New networks of every dataset, with their numbers.
        self._archs: dict[_Key, list[Archs]] = {}
        self._found: list[tuple[Networks, list[int]]] = []

    def add(self, data: Dataset) -> npt.NDArray[np.intp]:
        """Numbers of a dataset's networks, shape (n,)."""
        runtime = FUSES_AS.get(data.target.runtime, data.target.runtime)
        if data.space is None:
            names, precision = data.names, data.target.precision
            families = [family or name for family, name in zip(data.families, names, strict=True)]
        else:
            genes = data.archs.canonical().genes
            names, precision = tuple(f"{data.space.name}:{g.tobytes().hex()}" for g in genes), ""
            families = [data.space.name] * len(data)
        space = "" if data.space is None else data.space.name
        key = (space, data.target.batch, rules_of(runtime), precision)
        numbers = self._numbers.setdefault(key, {})
        new = []
        for n, name in enumerate(names):
            if name not in numbers:
                numbers[name] = len(self._names)
                self._names.append(name)
                self._families.append(families[n])
                new.append(n)
        if new and data.space is not None:
            self._archs.setdefault(key, []).append(data.archs.canonical()[np.array(new)])
        elif new:
            graphs = [data.graphs[n] for n in new]
            kernels = Networks.of_graphs(graphs, key[2], precision)
            self._found.append((kernels, [numbers[names[n]] for n in new]))
        return np.array([numbers[name] for name in names], dtype=np.intp)

    def networks(self) -> tuple[Networks, tuple[str, ...], tuple[str, ...], npt.NDArray[np.intp]]:
        """All of them, their names and families, and the row of every number."""
        found = list(self._found)
        for key, archs in self._archs.items():
            kernels = Networks.of_archs(archs[0].concatenate(*archs[1:]), key[1], key[2])
            found.append((kernels, list(self._numbers[key].values())))
        order = [n for _, numbers in found for n in numbers]
        places = np.empty(len(order), dtype=np.intp)
        places[order] = np.arange(len(order))
        names, families = (tuple(x[n] for n in order) for x in (self._names, self._families))
        return Networks.joined([kernels for kernels, _ in found]), names, families, places
