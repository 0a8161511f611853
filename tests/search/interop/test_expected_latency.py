from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import latcast
from latcast.data import Dataset
from latcast.devices import Target
from latcast.models import MLP, PREDICTORS, LookupTable, Predictor
from latcast.search.interop import _terms
from latcast.search.interop._terms import Variables, terms_of
from latcast.spaces import Archs, SearchSpace, space, space_names

torch = pytest.importorskip("torch", reason="the expected latency is a PyTorch module")

from latcast.search.interop import ExpectedLatency  # noqa: E402  # it needs PyTorch

RESOLUTIONS = {"r": [160, 192, 224]}
KINDS = tuple(PREDICTORS)
# What is not shipped of a space, rooflines and base models, takes seconds to fit.
NOT_SHIPPED = {"nasbench201": ("roofline",), "fbnet": ("roofline",)}
NOT_SHIPPED |= dict.fromkeys(("ofa-proxyless", "ofa-resnet50"), ("roofline", "bayes"))
CASES = [
    (name, kind)
    for name in ("ofa-mobilenet-v3", *NOT_SHIPPED)
    for kind in KINDS
    if kind not in NOT_SHIPPED.get(name, ())
]
# Single precision inside; all others compute in double.
TOLERANCE = {"mlp": 1e-6}


@pytest.fixture(scope="module")
def get() -> Callable[[str, str], Predictor]:
    """A predictor for a space: a shipped one, or fitted to physics and 1 % of noise."""
    known: dict[tuple[str, str], Predictor] = {}

    def make(name: str, kind: str) -> Predictor:
        if kind == "roofline":
            return latcast.load("rtx-2080-ti")
        if kind == "bayes":
            base = latcast.load_base(name)
            return base.trained(base.targets[0])
        new = MLP(hidden=(32, 32), epochs=1) if kind == "mlp" else PREDICTORS[kind]()
        # A table must have seen every block, and of some of ResNet50's there are 27 to choose from.
        return new.fit(_data(space(name), 1_500 if kind == "lookup-table" else 400))

    def found(name: str, kind: str) -> Predictor:
        if (name, kind) not in known:
            known[name, kind] = make(name, kind)
        return known[name, kind]

    return found


def _data(the_space: SearchSpace, n: int = 400) -> Dataset:
    rng = np.random.default_rng(1)
    has_resolution = any(g.name == "r" for g in the_space.genes)
    archs = the_space.sample(n, rng, restrict=RESOLUTIONS if has_resolution else None)
    facts = the_space.block_table.facts
    ms = facts["macs"] * 2e-8 + facts["elementwise_bytes"] * 5e-8 + facts["launches"] * 0.01
    latency_ms = (1 + the_space.block_sums(archs, ms)) * rng.normal(1, 0.01, n)
    return Dataset(archs, latency_ms, Target("imaginary", "simulator"))


def _decided(module: ExpectedLatency, archs: Archs) -> dict[str, Any]:
    """Probabilities of 0 and 1, (n, choices) for every gene."""
    return {
        name: torch.from_numpy((archs.genes[:, [i]] == np.array(choices)).astype(np.float64))
        for i, (name, choices) in enumerate(module.choices.items())
    }


def _random(module: ExpectedLatency, seed: int, alpha: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(rng.dirichlet([alpha] * len(choices)))
        for name, choices in module.choices.items()
    }


def _enumerated(
    module: ExpectedLatency, the_space: SearchSpace, p: Mapping[str, Any]
) -> tuple[Archs, npt.NDArray[np.float64]]:
    """Every network and how likely it is."""
    archs = the_space.enumerate(module.choices)
    likely = np.ones(len(archs))
    for column, (name, choices) in zip(archs.genes.T, module.choices.items(), strict=True):
        likely *= p[name].numpy()[np.searchsorted(np.array(choices), column)]
    assert likely.sum() == pytest.approx(1)
    return archs, likely


def _check_decided(module: ExpectedLatency, archs: Archs, predictor: Predictor) -> None:
    """Of decided genes it is the prediction."""
    expected = module(_decided(module, archs))
    assert expected.shape == (len(archs),)
    np.testing.assert_allclose(
        expected.numpy(), predictor.predict(archs), rtol=TOLERANCE.get(predictor.kind, 1e-12)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_of_decided_genes_it_is_the_prediction(
    get: Callable[[str, str], Predictor], kind: str, name: str
) -> None:
    predictor = get(name, kind)
    module = ExpectedLatency(predictor)
    _check_decided(module, predictor.space.sample(100, 3, restrict=module.choices), predictor)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["compofa-fixed-kernel", "compofa-elastic-kernel"])
def test_genes_of_a_subspace(get: Callable[[str, str], Predictor], kind: str, name: str) -> None:
    predictor = get("ofa-mobilenet-v3", kind)
    module = ExpectedLatency(predictor, space(name), restrict={"r": [160, 224]})
    assert module.choices["r"] == (160, 224)
    _check_decided(module, space(name).sample(100, 3, restrict=module.choices), predictor)


@pytest.mark.slow
def test_of_a_prediction_that_builds_on_another(get: Callable[[str, str], Predictor]) -> None:
    few = _data(space("ofa-mobilenet-v3"), 5)
    adapted = get("ofa-mobilenet-v3", "roofline").adapt(few)
    assert adapted.form().base is not None
    module = ExpectedLatency(adapted)
    _check_decided(module, adapted.space.sample(100, 3, restrict=module.choices), adapted)


@pytest.mark.parametrize(
    "name", ["samsung-note10", "help-titan-rtx-64", "epyc-genoa-2c-ncnn-b1-t1"]
)
def test_of_shipped_models(name: str) -> None:
    predictor = latcast.load(name)
    module = ExpectedLatency(predictor)
    _check_decided(module, predictor.space.sample(100, 3, restrict=module.choices), predictor)


@pytest.fixture(scope="module")
def of_dead_code(get: Callable[[str, str], Predictor]) -> Predictor:
    """A predictor that tells blocks without an influence on the output from others."""
    return get("nasbench201", "bayes")


@pytest.mark.parametrize("name", ["compofa-fixed-kernel", "nasbench201"])
@pytest.mark.parametrize("kind", ["lookup-table", "flops"])
def test_of_what_adds_up_it_is_the_mean_over_all_networks(
    get: Callable[[str, str], Predictor], kind: str, name: str
) -> None:
    the_space = space(name)
    predictor = get(the_space.block_space, kind)
    module = ExpectedLatency(predictor, the_space)
    p = _random(module, 5)
    archs, likely = _enumerated(module, the_space, p)
    assert float(module(p)) == pytest.approx(likely @ predictor.predict(archs), rel=1e-10)


def test_with_a_depth_that_is_not_decided(get: Callable[[str, str], Predictor]) -> None:
    predictor = get("ofa-mobilenet-v3", "lookup-table")
    free = {"ks3", "e3", "ks4", "e4", "d1", "r"}
    fixed = {g.name: g.choices[:1] for g in predictor.space.genes if g.name not in free}
    module = ExpectedLatency(predictor, restrict=fixed)
    p = _random(module, 7)
    archs, likely = _enumerated(module, predictor.space, p)
    assert len(archs) == 3**6
    assert float(module(p)) == pytest.approx(likely @ predictor.predict(archs), rel=1e-10)


@pytest.mark.slow
def test_inputs_are_means_even_where_many_genes_decide(of_dead_code: Predictor) -> None:
    # Whether a block of a cell is dead code is decided by all six edges.
    form, the_space = of_dead_code.form(), of_dead_code.space
    terms = terms_of(form, Variables(the_space, tuple(the_space.choices())))
    assert max(len(t.genes) for t in terms) == 6
    module = ExpectedLatency(of_dead_code)
    p = _random(module, 1)
    archs, likely = _enumerated(module, the_space, p)
    live = np.where(the_space.live_blocks(archs), the_space.block_ids(archs), len(form.rows))
    sums = [
        np.vstack([values, np.zeros((1, values.shape[1]))])[ids].sum(axis=1)
        for values, ids in ((form.rows, the_space.block_ids(archs)), (form.live, live))
    ]
    likely_of = [p[name].numpy() for name in module.choices]
    found = np.zeros(len(form.linear))
    for term in terms:
        mean = term.table
        for gene in term.genes:
            mean = np.tensordot(likely_of[gene], mean, axes=1)
        found += mean
    np.testing.assert_allclose(found, likely @ np.hstack(sums), rtol=1e-10)


@pytest.mark.parametrize("name", ["rtx-2080-ti", "tesla-p40"])
def test_what_does_not_add_up_stays_near_the_mean(name: str) -> None:
    # At most 1.7 % where nothing is decided, less the more is.
    predictor, the_space = latcast.load(name), space("compofa-fixed-kernel")
    module = ExpectedLatency(predictor, the_space)
    gaps = []
    for alpha in (0.05, 0.3, 1.0, 100.0):
        p = _random(module, 2, alpha)
        archs, likely = _enumerated(module, the_space, p)
        gaps.append(float(module(p)) / (likely @ predictor.predict(archs)) - 1)
    assert 0 < np.abs(gaps).max() < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "dead code"])
def test_gradients(
    get: Callable[[str, str], Predictor], of_dead_code: Predictor, kind: str
) -> None:
    if kind == "dead code":
        module = ExpectedLatency(of_dead_code)
    else:
        predictor = get("ofa-mobilenet-v3", kind)
        restrict = {g.name: g.choices[:2] for g in predictor.space.genes[8:40]}
        module = ExpectedLatency(predictor, restrict=restrict)
    torch.manual_seed(0)
    logits = [
        torch.randn(1, len(c), dtype=torch.float64, requires_grad=True)
        for c in module.choices.values()
    ]
    assert torch.autograd.gradcheck(
        lambda *given: module([x.softmax(-1) for x in given]), logits, fast_mode=len(logits) > 20
    )
    # Whatever the probabilities: those of 0 and 1 as well.
    decided = [torch.zeros_like(x).index_fill(-1, torch.tensor(0), 1.0) for x in logits]
    for p in decided:
        p.requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: module(given), decided, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_genes_that_the_depth_leaves_out_have_no_gradient(
    get: Callable[[str, str], Predictor], kind: str
) -> None:
    module = ExpectedLatency(get("ofa-mobilenet-v3", kind))
    p = _random(module, 3)
    p["d2"] = torch.tensor([0.4, 0.6, 0.0], dtype=torch.float64)  # position 8 is left out
    p["d3"] = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)  # 11 and 12 as well
    for values in p.values():
        values.requires_grad_()
    module(p).backward()
    out = {f"{gene}{position}" for gene in ("ks", "e") for position in (8, 11, 12)}
    for name, values in p.items():
        assert (values.grad == 0).all() == (name in out), name


def test_batches_broadcast() -> None:
    module = ExpectedLatency(latcast.load("samsung-note10"))
    several = [_random(module, seed) for seed in range(6)]
    one_by_one = torch.stack([module(p) for p in several])
    stacked = {name: torch.stack([p[name] for p in several]) for name in module.choices}
    torch.testing.assert_close(module(stacked), one_by_one)
    torch.testing.assert_close(module(list(stacked.values())), one_by_one)
    grid = {name: p.reshape(2, 3, -1) for name, p in stacked.items()}
    torch.testing.assert_close(module(grid), one_by_one.reshape(2, 3))
    shared = {**grid, "r": several[0]["r"]}
    assert module(shared).shape == (2, 3)
    torch.testing.assert_close(module(shared)[0, 0], one_by_one[0])
    empty = {name: p[:0] for name, p in stacked.items()}
    assert module(empty).shape == (0,)


def test_where_nothing_is_left_to_choose() -> None:
    predictor = latcast.load("rtx-2080-ti")
    arch = predictor.space.sample(1, 0, restrict={"r": [192]})
    names = [g.name for g in predictor.space.genes]
    fixed = {name: [int(value)] for name, value in zip(names, arch.genes[0], strict=True)}
    module = ExpectedLatency(predictor, restrict=fixed)
    ones = [torch.ones(3, 1, dtype=torch.float64)] * len(names)
    np.testing.assert_allclose(module(ones).numpy(), np.repeat(predictor.predict(arch), 3))


def test_single_precision() -> None:
    module = ExpectedLatency(latcast.load("rtx-2080-ti"))
    p = _random(module, 0)
    exact = float(module(p))
    single = {name: values.float() for name, values in p.items()}
    assert module(single).dtype == torch.float32
    assert float(module(single)) == pytest.approx(exact, rel=1e-6)
    assert float(copy.deepcopy(module).float()(single)) == pytest.approx(exact, rel=1e-4)


def test_the_widest_precision_counts() -> None:
    module = ExpectedLatency(latcast.load("samsung-note10"))
    p = {name: values.float() for name, values in _random(module, 0).items()}
    p["ks1"] = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float16)
    expected = module({name: values.double() for name, values in p.items()})
    assert module(p).dtype == torch.float32
    p["r"] = p["r"].double()
    assert module(p).dtype == torch.float64
    assert float(module(p)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64"])
def test_probabilities_are_floating_point(dtype: str) -> None:
    module = ExpectedLatency(latcast.load("samsung-note10"))
    p = _random(module, 0)
    p["ks1"] = torch.tensor([0, 1, 0]).to(getattr(torch, dtype))
    message = f"of ks1 must be a floating-point tensor; got torch.{dtype}"
    with pytest.raises(ValueError, match=message):
        module(p)
    p["ks1"] = np.array([0.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="must be a floating-point tensor; got ndarray"):
        module(p)


def test_it_is_a_module_like_others() -> None:
    module = ExpectedLatency(latcast.load("samsung-note10"), restrict={"r": [224]})
    p = _random(module, 0)
    again = pickle.loads(pickle.dumps(module))
    assert torch.equal(again(p), module(p))
    assert not list(module.parameters())
    assert not module.state_dict()


def test_by_default_only_what_was_trained_on() -> None:
    predictor = latcast.load("samsung-note10")
    assert ExpectedLatency(predictor).choices["r"] == (160, 176, 192, 208, 224)
    with pytest.raises(ValueError, match=r"r must keep one of \[160, .*; got \[128\]"):
        ExpectedLatency(predictor, restrict={"r": [128]})
    with pytest.raises(ValueError, match="it knows nothing of nasbench201"):
        ExpectedLatency(predictor, space("nasbench201"))


def test_what_is_not_a_probability_is_an_error() -> None:
    module = ExpectedLatency(latcast.load("samsung-note10"))
    p = _random(module, 0)
    with pytest.raises(ValueError, match="'ks1' is missing"):
        module({name: values for name, values in p.items() if name != "ks1"})
    with pytest.raises(ValueError, match="'zz' is unknown"):
        module({**p, "zz": p["r"]})
    with pytest.raises(ValueError, match="for 46 genes; got 2"):
        module([p["ks1"], p["ks2"]])
    with pytest.raises(ValueError, match=r"of r must have the shape \(…, 5\), .*; got \(3,\)"):
        module({**p, "r": p["ks1"]})
    for bad in ([1.0, 0.5, -0.5], [0.5, 0.5, 0.5], [float("nan"), 0.5, 0.5]):
        with pytest.raises(ValueError, match="probabilities of d3 must be from 0 to 1"):
            module({**p, "d3": torch.tensor(bad, dtype=torch.float64)})


def test_unknown_blocks_are_an_error() -> None:
    ofa = space("ofa-mobilenet-v3")
    values = np.ones(len(ofa.block_table))
    arch = ofa.sample(1, 0, restrict={"r": [224], "ks1": [5], "e1": [4]})
    values[ofa.block_ids(arch)[0, 2]] = np.nan
    table = LookupTable.from_blocks(ofa, Target("d", "r"), values)
    with pytest.raises(ValueError, match="does not know 'stage 1: kernel 5, expand 4'"):
        ExpectedLatency(table)
    ExpectedLatency(table, restrict={"ks1": [3, 7]})


def test_a_predictor_that_is_no_function_of_sums() -> None:
    class Silent(LookupTable):
        kind = "silent"

        def _form(self) -> None:  # type: ignore[override]
            return None

    with pytest.raises(TypeError, match="must be a function of sums over blocks; 'silent'"):
        Silent().fit(_data(space("fbnet"))).form()
    with pytest.raises(RuntimeError, match="must be fitted first"):
        LookupTable().form()


def test_what_probing_misses_is_noticed(
    monkeypatch: pytest.MonkeyPatch, of_dead_code: Predictor
) -> None:
    monkeypatch.setattr(_terms, "PROBES", 64)
    with pytest.raises(ValueError, match="must depend on few genes each"):
        ExpectedLatency(of_dead_code)


def test_wrong_ms_are_noticed_beside_many_macs() -> None:
    predictor = latcast.load("rtx-2080-ti")
    form, the_space = predictor.form(), predictor.space
    variables = Variables(the_space, tuple(the_space.choices(RESOLUTIONS)))
    terms, parts = terms_of(form, variables), _terms._parts(form, the_space)
    largest = _terms._summed(parts[0], the_space.sample(50, 0, restrict=RESOLUTIONS)).max(axis=0)
    assert largest.max() > 1e7 * largest[0]
    for column in range(len(largest)):
        wrong = terms[0].table.copy()
        wrong[..., column] += 1e-3 * largest[column]
        off = [_terms.Term(terms[0].genes, wrong), *terms[1:]]
        with pytest.raises(ValueError, match="must depend on few genes each"):
            _terms._check(off, parts, variables, np.random.default_rng(1))


def test_too_many_genes_for_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_terms, "MAX_COMBINATIONS", 100)
    with pytest.raises(ValueError, match=r"at most 100 combinations .* restrict the genes"):
        ExpectedLatency(latcast.load("samsung-note10"))


@pytest.mark.slow
def test_every_space_is_probed_right() -> None:
    for name in space_names():
        the_space = space(name)
        block_space = the_space.expand(the_space.sample(1, 0)).space
        rows = len(block_space.block_table)
        table = LookupTable.from_blocks(block_space, Target("d", "r"), np.arange(1.0, rows + 1))
        some = {g.name: g.choices[::4] for g in the_space.genes if len(g.choices) > 9}
        module = ExpectedLatency(table, the_space, restrict=some)
        _check_decided(module, the_space.sample(200, 1, restrict=module.choices), table)
