from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from latcast.data import Dataset
from latcast.models import BaseModel, Roofline
from latcast.models.adaptation import _covariances, _prior, suggest
from latcast.spaces import Archs, space

RESOLUTIONS = {"r": [160, 192, 224]}


def _mean_variance(base: BaseModel | None, picked: Archs, others: Archs) -> float:
    """Share of other networks' variance that is left, over draws, by plain conditioning."""
    prior = _prior(others.space, base)
    both, k = picked.concatenate(others), len(picked)
    shares = []
    for covariance, noise in zip(*_covariances(prior, both), strict=True):
        inside = covariance[:k, :k] + noise * np.eye(k)
        across, own = covariance[:k, k:], covariance[k:, k:]
        left = own - across.T @ np.linalg.inv(inside) @ across
        shares.append(np.trace(left) / np.trace(own))
    return float(np.mean(shares))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alone", "base model"])
def test_better_than_at_random(kind: str, base_model: BaseModel) -> None:
    ofa = space("ofa-mobilenet-v3")
    base = base_model if kind == "base model" else None
    candidates = ofa.sample(300, 0, restrict=RESOLUTIONS)
    others = ofa.sample(200, 1, restrict=RESOLUTIONS)
    chosen = _mean_variance(base, suggest(ofa, 8, base=base, candidates=candidates), others)
    rng = np.random.default_rng(0)
    chance = [
        _mean_variance(base, candidates[rng.choice(300, 8, replace=False)], others)
        for _ in range(10)
    ]
    assert chosen < min(chance)
    assert chosen < 0.9 * np.mean(chance)


@pytest.mark.slow
def test_deterministic_by_seed() -> None:
    ofa = space("ofa-mobilenet-v3")
    first, again, other = (suggest(ofa, 5, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert suggest(ofa, 3, seed=0) == first[:3], "fewer samples are the first of more"


@pytest.mark.slow
def test_no_network_twice() -> None:
    cells = space("nasbench201")
    assert len(suggest(cells, 300).unique()) == 300
    few = cells.sample(30, 0)
    doubled = few.concatenate(few)
    distinct = len(few.unique())
    assert len(suggest(cells, distinct, candidates=doubled).unique()) == distinct
    with pytest.raises(ValueError, match=rf"from 1 to that of the candidates, {distinct}; got 60"):
        suggest(cells, 60, candidates=doubled)


def test_measured_networks_are_neither_picked_nor_resembled() -> None:
    ofa = space("ofa-mobilenet-v3")
    candidates = ofa.sample(100, 0, restrict=RESOLUTIONS)
    first = suggest(ofa, 5, candidates=candidates)
    then = suggest(ofa, 5, candidates=candidates, measured=first)
    assert len(first.concatenate(then).unique()) == 10
    # What would be picked sixth is the first pick once five are measured.
    assert then[0] == suggest(ofa, 6, candidates=candidates)[5]
    with pytest.raises(ValueError, match="that of the candidates, 95; got 96"):
        suggest(ofa, 96, candidates=candidates, measured=first)


def test_many_candidates_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latcast.models.adaptation.CANDIDATES", 40)
    ofa = space("ofa-mobilenet-v3")
    candidates = ofa.sample(200, 0)
    assert len(suggest(ofa, 3, candidates=candidates)) == 3
    assert len(suggest(ofa, 60, candidates=candidates).unique()) == 60
    assert len(suggest(ofa, 60).unique()) == 60


@pytest.mark.parametrize("kind", ["opaque", "bayes", "base model", "none"])
@pytest.mark.parametrize("name", ["ofa-mobilenet-v3", "compofa-elastic-kernel"])
def test_every_base(
    kind: str, name: str, base_model: BaseModel, source_data: list[Dataset]
) -> None:
    bases: dict[str, Callable[[], Any]] = {
        "opaque": lambda: Roofline().fit(source_data[0]),
        "bayes": lambda: base_model.adapt(source_data[0][:10]),
        "base model": lambda: base_model,
        "none": lambda: None,
    }
    the_space = space(name)
    candidates = the_space.sample(60, 0, restrict=RESOLUTIONS)
    picked = suggest(
        the_space, 4, base=bases[kind](), candidates=candidates, measured=the_space.sample(3, 1)
    )
    assert len(picked.unique()) == 4
    assert picked.space.name == name


def test_refusals(base_model: BaseModel) -> None:
    ofa, cells = space("ofa-mobilenet-v3"), space("nasbench201")
    for samples in (0, -3, 21):
        with pytest.raises(ValueError, match="number of samples must be from 1 to"):
            suggest(ofa, samples, candidates=ofa.sample(20, 0))
    with pytest.raises(ValueError, match="base must be for nasbench201; it is for ofa-mobilenet"):
        suggest(cells, 2, base=base_model)
    with pytest.raises(ValueError, match="candidates must be of ofa-mobilenet-v3; got nasbench201"):
        suggest(ofa, 2, candidates=cells.sample(5, 0))
    with pytest.raises(ValueError, match="measured networks must be of ofa-mobilenet-v3; got"):
        suggest(ofa, 2, measured=cells.sample(5, 0))
