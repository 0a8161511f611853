"""Predictors on spaces that are not Once-For-All's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latcast.data import Dataset, split
from latcast.devices import Target
from latcast.models import LookupTable, Roofline, load, predictor
from latcast.spaces import space

TARGET = Target("imaginary", "simulator")


def simulated(name: str, n: int = 600) -> Dataset:
    """Latency that follows physics, with 1 % of noise."""
    the_space = space(name)
    rng = np.random.default_rng(1)
    has_resolution = the_space.genes[-1].name == "r"
    restrict = {"r": [160, 224]} if has_resolution else None
    archs = the_space.sample(n, rng, restrict=restrict).unique()
    facts = the_space.block_table.facts
    ms = facts["macs"] * 4e-8 + facts["elementwise_bytes"] * 5e-8 + facts["launches"] * 0.01
    latency = 1.0 + the_space.block_sums(archs, ms)
    return Dataset(archs, latency * rng.normal(1.0, 0.01, len(archs)), TARGET)


@pytest.mark.parametrize("kind", ["roofline", "lookup-table"])
@pytest.mark.parametrize(
    "name", ["nasbench201", "fbnet", "fbnet-imagenet", "ofa-proxyless", "ofa-resnet50"]
)
def test_predicts_what_it_should(name: str, kind: str, tmp_path: Path) -> None:
    train, test = split(simulated(name), 0.8, seed=0)
    p = predictor(kind).fit(train)
    predicted = p.predict(test.archs)
    assert np.abs(predicted / test.latency_ms - 1).mean() < 0.02
    explanation = p.explain(test.archs)
    total = explanation.blocks_ms.sum(axis=1) + explanation.network_ms
    np.testing.assert_allclose(total, predicted)
    p.save(tmp_path / "p.latcast")
    np.testing.assert_array_equal(load(tmp_path / "p.latcast").predict(test.archs), predicted)
    assert p.fitted.seen.keys() == {g.name for g in p.space.genes}


def test_fewer_networks_do_on_a_space_of_few_blocks() -> None:
    train, test = split(simulated("nasbench201", 1_000), 0.1, seed=0)
    error = np.abs(Roofline().fit(train).predict(test.archs) / test.latency_ms - 1)
    assert error.mean() < 0.03


def test_a_table_knows_the_operations_that_it_has() -> None:
    cells = space("nasbench201")
    values = np.ones(len(cells.block_table))
    whole = LookupTable.from_blocks(cells, TARGET, values)
    assert whole.fitted.seen == {g.name: [1, 2, 3, 4, 5] for g in cells.genes}
    assert whole.predict(cells.sample(3, 0)).tolist() == [141.0] * 3
    values[cells.block_table.keys.index("stage 2/nor_conv_3x3")] = np.nan
    table = LookupTable.from_blocks(cells, TARGET, values)
    assert table.fitted.seen == {g.name: [1, 2, 3, 5] for g in cells.genes}
    without = cells.sample(3, 0, restrict=table.fitted.seen)
    assert table.predict(without).tolist() == [141.0] * 3
    with pytest.raises(ValueError, match=r"needs the block 'stage 2: nor_conv_3x3'"):
        table.predict(cells.sample(3, 0, restrict={"2->3": [4]}))
