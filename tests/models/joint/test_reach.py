"""What was measured of a device makes no interval wider than it is of one that nobody measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latcast._model_file import ModelFile, read_model, write_model
from latcast.devices import PRECISIONS, Device, Target, devices, runtime_of_domain
from latcast.families import population
from latcast.graph import Graph
from latcast.models.joint import Joint, JointPredictor, JointSpacePredictor, Question, within_each
from latcast.models.zoo import open_shipped
from latcast.networks import Networks
from latcast.spaces import space

# Widths are compared as logarithms. Both are by slopes at the forecast itself, which measurements
# move, and the lower ends of both may be the bound.
TYPICAL, LARGEST = 1.5, 2.0
POPULATION = population(3, 1)


@pytest.fixture(scope="module")
def joint() -> Joint:
    shipped = open_shipped("devices", "joint")
    assert isinstance(shipped, Joint)
    return shipped


@pytest.fixture(scope="module")
def unmeasured(joint: Joint) -> Joint:
    """The same model without any measured target."""
    new, known = Joint(), joint._known
    none = replace(
        known, targets=(), rows=(), places=known.places[:0], moved=known.moved[:0],
        directions=known.directions[:0],
    )  # fmt: skip
    new.__dict__.update(joint.__dict__, _known=none, named={})
    return new


def _log_widths(predictor: JointPredictor, graphs: Sequence[Graph]) -> np.ndarray:
    lower, upper = predictor.predict_interval(graphs)
    return np.log(upper / lower)


def _ratios(joint: Joint, other: Joint, question: Question, graphs: Sequence[Graph]) -> np.ndarray:
    """Widths by what was measured over those by nothing, of every network."""
    return _log_widths(joint.predictor(question), graphs) / _log_widths(
        other.predictor(question), graphs
    )


def _graphs(batch: int, count: int = 3) -> list[Graph]:
    return [variant.graph(batch) for variant in POPULATION[:count]]


def _known_questions(joint: Joint, batch: int) -> list[Question]:
    """A question about one device of every chip in each domain and precision that it is known in.

    Of CPUs it is asked with all their cores, as they were measured, and with one.
    """
    of_group: dict[str, Device] = {}
    for device in devices().values():
        of_group.setdefault(device.group, device)
    found = []
    for _, chip, domain, precision in dict.fromkeys(("", *t[1:]) for t in joint._known.targets):
        if chip not in of_group or precision not in PRECISIONS:
            continue
        for threads in (0, 1) if domain.endswith("-cpu") else (0,):
            question = Question.of(
                of_group[chip], joint.domains, runtime=runtime_of_domain(domain), batch=batch,
                precision=precision, threads=threads,
            )  # fmt: skip
            # Efficiencies of TensorRT's convolutions were learnt on the V100 itself.
            if (
                question.facts.domain == domain
                and domain not in joint.model.learnt.efficiencies
                and joint._known.has(question.facts)
            ):
                found.append(question)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8, 128])
def test_no_known_device_is_told_less_of_than_if_it_were_new(
    joint: Joint, unmeasured: Joint, batch: int
) -> None:
    questions, graphs = _known_questions(joint, batch), _graphs(batch)
    assert len(questions) > 100
    wider = {}
    for question in questions:
        ratios = _ratios(joint, unmeasured, question, graphs)
        if np.median(ratios) > TYPICAL or ratios.max() > LARGEST:
            wider[str(question.target)] = np.round(ratios, 2).tolist()
    assert not wider


@pytest.mark.slow
def test_no_named_target_is_told_less_of_either(joint: Joint, unmeasured: Joint) -> None:
    graphs = {batch: _graphs(batch) for batch in (1, 32, 64, 256)}
    for name, named in joint.named.items():
        target = Target.parse(named.target)
        question = Question.of_target(target, joint.domains)
        own = graphs[target.batch]
        ratios = _ratios(joint, unmeasured, question, own)
        assert np.median(ratios) < TYPICAL, name
        assert ratios.max() < LARGEST, name


@pytest.mark.parametrize("device", ["rtx-4090", "rtx-3090"])
def test_a_card_known_at_a_batch_of_256_is_not_unsure_at_one(
    joint: Joint, unmeasured: Joint, device: str
) -> None:
    question = Question.of(
        devices()[device], joint.domains, runtime="pytorch", precision="fp16", batch=1
    )
    ratios = _ratios(joint, unmeasured, question, _graphs(1))
    assert ratios.max() < 1.2


def _card(joint: Joint) -> JointPredictor:
    question = Question.of(
        devices()["rtx-4090"], joint.domains, runtime="pytorch", precision="fp16"
    )
    return joint.predictor(question)


def test_all_ways_to_ask_tell_the_same_interval(joint: Joint) -> None:
    card, graphs = _card(joint), _graphs(1)
    lower, upper = card.predict_interval(graphs)
    networks = Networks.of(graphs, card._as_fused, card.runs_all)
    (together,) = within_each([card], networks, 1.0, 0.9)
    np.testing.assert_allclose(together.lower_ms, lower)
    np.testing.assert_allclose(together.upper_ms, upper)
    cells = space("nasbench201").sample(20, 3)
    of_space = JointSpacePredictor.of(card, space("nasbench201"))
    for ours, theirs in zip(
        of_space.predict_interval(cells), card.predict_interval(cells), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("name", [None, "help-v100-32"])
def test_a_file_keeps_it_and_files_without_it_can_be_read(
    joint: Joint, tmp_path: Path, name: str | None
) -> None:
    predictor = _card(joint) if name is None else joint.of_name(name)
    graphs = _graphs(predictor.target.batch, 2)
    lower, upper = predictor.predict_interval(graphs)
    predictor.save(tmp_path / "new.latcast")
    again = JointPredictor.load(tmp_path / "new.latcast").predict_interval(graphs)
    np.testing.assert_allclose(again[0], lower, rtol=1e-3)
    np.testing.assert_allclose(again[1], upper, rtol=1e-3)
    file = read_model(tmp_path / "new.latcast")
    header = {k: v for k, v in file.header.items() if k != "beside"}
    without = {k: v for k, v in file.tensors.items() if k != "elsewhere" or name is not None}
    write_model(tmp_path / "old.latcast", ModelFile(header, without))
    old = JointPredictor.load(tmp_path / "old.latcast")
    np.testing.assert_allclose(old.predict(graphs), predictor.predict(graphs), rtol=1e-3)
    assert (_log_widths(old, graphs) >= _log_widths(predictor, graphs) * 0.999).all()
