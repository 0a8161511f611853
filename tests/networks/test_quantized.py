"""Kernels in floats as a quantizer leaves them, beside those of the graph that it writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from latcast.families import population
from latcast.graph import KERNEL_FACTS, Graph, as_run, rules_of
from latcast.graph.qdq import runs_quantized
from latcast.networks import Networks
from latcast.networks.corpus import Corpus
from latcast.networks.quantized import in_int8

RUNTIMES = ("onnxruntime", "openvino")
FAMILIES = (
    "ofa", "resnet", "mobilenet-v2", "mobilenet-v3", "efficientnet", "squeezenet", "vgg", "vit",
)  # fmt: skip


def both(graph: Graph, runtime: str) -> tuple[Networks, Networks]:
    """What runs, and what is told of it by the kernels in floats alone."""
    rules = rules_of(runtime)
    runs = Networks.of_graphs([as_run(graph, runtime, "int8")], rules, "int8")
    return runs, in_int8(replace(Networks.of_graphs([graph], rules), rows=()))


def counts(networks: Networks) -> Counter[str]:
    times = np.asarray(networks.counts.sum(axis=0)).ravel()
    found: Counter[str] = Counter()
    for label, count in zip(networks.labels, times.tolist(), strict=True):
        found[label] += int(count)
    return found


def total(networks: Networks, *facts: str) -> float:
    columns = [KERNEL_FACTS.index(name) for name in facts]
    return float((networks.counts @ networks.facts[:, columns]).sum())


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_are_nearly_those_of_the_quantized_graph(family: str, runtime: str) -> None:
    (variant,) = population(1, 0, [family])
    runs, told = both(variant.graph(), runtime)
    assert total(told, "macs") == total(runs, "macs")
    assert total(told, "read_bytes", "write_bytes") == pytest.approx(
        total(runs, "read_bytes", "write_bytes"), rel=0.1
    )
    assert total(told, "param_bytes") == pytest.approx(total(runs, "param_bytes"), rel=0.1)
    there, here = counts(runs), counts(told)
    others = sum(((there - here) + (here - there)).values())
    # OpenVINO runs some neighbours in floats as one kernel.
    assert others <= (0.36 if (family, runtime) == ("vit", "openvino") else 0.12) * sum(
        there.values()
    )


def test_networks_stay_apart_and_share_kernels() -> None:
    graphs = [v.graph() for v in population(2, 0, ["mobilenet-v2"])]
    each = [in_int8(Networks.of_graphs([g])) for g in graphs]
    together = in_int8(Networks.of_graphs([*graphs, graphs[0]]))
    sums = together.counts @ together.facts
    for n, own in enumerate((*each, each[0])):
        np.testing.assert_allclose(sums[n], (own.counts @ own.facts)[0])
    assert len(together.ops) < sum(len(own.ops) for own in each)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "ncnn"])
def test_a_corpus_is_in_integers_where_campaigns_quantize(runtime: str) -> None:
    (variant,) = population(1, 0, ["vgg"])
    corpus = Corpus.of({"ours:vgg": variant.graph()})
    floats = corpus.networks(["ours:vgg"], runtime)
    integers = corpus.networks(["ours:vgg"], runtime, precision="int8")
    factor = total(integers, "write_bytes") / total(floats, "write_bytes")
    assert factor < 0.6 if runs_quantized(runtime, "int8") else factor == 1.0
