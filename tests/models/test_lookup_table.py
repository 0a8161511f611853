from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latcast.data import Dataset, read, split
from latcast.devices import Target
from latcast.models import LookupTable, load
from latcast.spaces import space

NOTE10 = Target("samsung-note10", "lookup-table")


def test_published_tables(shared: Path, tmp_path: Path) -> None:
    folder = shared / "ofanas" / "lookup_tables"
    table = LookupTable.from_ofa(folder, space("ofa-mobilenet-v3"), NOTE10)
    data = read(shared / "ofanas" / "datasets" / "note10_lookuptable_ofa.csv")
    assert np.abs(table.predict(data.archs) - data.latency_ms).max() < 1e-6
    assert table.fitted.seen["r"] == list(range(160, 225, 4))
    with pytest.raises(ValueError, match=r"call calibrate\(data\)"):
        table.predict_interval(data.archs)
    table.save(tmp_path / "t.latcast")
    np.testing.assert_array_equal(
        load(tmp_path / "t.latcast").predict(data.archs), table.predict(data.archs)
    )


def test_one_resolution(shared: Path) -> None:
    file = shared / "ofanas" / "lookup_tables" / "172_lookup_table.yaml"
    the_space = space("compofa-fixed-kernel")
    table = LookupTable.from_ofa(file, the_space, NOTE10)
    assert table.space.name == "ofa-mobilenet-v3"
    assert (table.predict(the_space.sample(5, 0, restrict={"r": [172]})) > 5).all()
    with pytest.raises(ValueError, match=r"needs the block 'first conv' \(176/Conv-"):
        table.predict(the_space.sample(5, 0, restrict={"r": [176]}))


def test_table_of_another_width_is_refused(shared: Path) -> None:
    with pytest.raises(ValueError, match="is it of another width"):
        LookupTable.from_ofa(
            shared / "ofanas" / "lookup_tables", space("ofa-mobilenet-v3-w1.0"), NOTE10
        )


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"RESOLUTION_lookup_table\.yaml"):
        LookupTable.from_ofa(tmp_path, space("ofa-mobilenet-v3"), NOTE10)


def test_fit_recovers_a_table() -> None:
    the_space = space("compofa-elastic-kernel")
    archs = the_space.sample(2_000, 0, restrict={"r": [128]})
    values = np.random.default_rng(0).uniform(0.1, 2.0, len(the_space.block_table))
    data = Dataset(archs, the_space.block_sums(archs, values), Target("d", "r"))
    train, test = split(data, 0.8)
    p = LookupTable().fit(train)
    np.testing.assert_allclose(p.predict(test.archs), test.latency_ms, rtol=1e-4)


def test_blocks_that_were_never_fitted_are_named(synthetic: Dataset) -> None:
    p = LookupTable().fit(synthetic)
    with pytest.raises(ValueError, match=r"needs the block .* \(176/"):
        p.predict(synthetic.archs.space.sample(3, 0, restrict={"r": [176]}))


def test_noise_never_makes_a_latency_negative() -> None:
    the_space = space("ofa-mobilenet-v3")
    archs = the_space.sample(600, 0, restrict={"r": [160]})
    noise = np.random.default_rng(0).lognormal(0, 0.6, 600)
    p = LookupTable().fit(Dataset(archs, 10 * noise, Target("d", "r")))
    many = the_space.sample(5_000, 1, restrict={"r": [160]})
    lower, upper = p.predict_interval(many, 0.8)
    assert p.predict(many).min() > 0
    assert np.isfinite(lower).all()
    assert np.isfinite(upper).all()
