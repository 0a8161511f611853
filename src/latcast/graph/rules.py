"""Fusion rules, as data: the layers that a runtime runs as one kernel.

:data:`RULES` are those of ONNX Runtime's optimizer for CPUs (all levels, ``ORT_ENABLE_ALL``),
whose names are given where a rule has one; ``benchmarks/kernels.py`` compares what comes of them. A
rule is a path of kernels; what it makes goes by a word that later rules can read on. Where a
convolution runs in blocks of channels is told by :mod:`.layouts`, what must hold beside the words
by :mod:`.conditions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from . import conditions
from ._graph import Graph
from .fusion import QUANTIZED, Kernel, Rule, joined
from .quantization import FLOATS_OF_INTEGERS, QUANTIZED_RULES

_CONV = "conv|depthwise_conv"
_ABSORBED = "relu|relu6|clip|sigmoid|tanh|leaky_relu|h_sigmoid"
_BLOCKED = "relu|sigmoid|tanh|h_sigmoid"
# Operators that write the same if they read the same and have the same shapes.
_REPEATED = "relu|relu6|sigmoid|tanh|h_swish|h_sigmoid|gelu|max_pool|avg_pool|global_pool|add|mul"
_GEMM_ACTIVATIONS = "relu|sigmoid|tanh|leaky_relu|h_sigmoid|elu|selu|softplus|softsign"

RULES: tuple[Rule, ...] = (
    Rule("EliminateIdentity", "* identity|dropout", idle=(1,)),
    Rule("EliminateExpand", "* expand", when=conditions.keeps_all, idle=(1,)),
    Rule("RemovePrecisionFreeCast", "cast *", when=conditions.widened_at_once, idle=(0,)),
    Rule(
        "CommonSubexpressionElimination",
        f"{_REPEATED} ~{_REPEATED}",
        when=conditions.alike,
        idle=(1,),
    ),
    # Level 1: operators of ONNX alone.
    Rule("ConvBNFusion", f"{_CONV} batch_norm", when=conditions.has_plain_weights, idle=(1,)),
    Rule("ConvMulFusion", f"{_CONV} mul|scale", when=conditions.one_constant_a_channel, idle=(1,)),
    Rule("ConvAddFusion", f"{_CONV} add", when=conditions.one_constant_a_channel, idle=(1,)),
    Rule("PadFusion", f"pad {_CONV}|max_pool|avg_pool", when=conditions.pads_with_zeros),
    Rule("FuseReluClip", "relu clip|relu6", "clip", idle=(0,)),
    Rule("MatMulAddFusion", "linear add", when=conditions.adds_a_bias),
    Rule("GeluFusion", "div|mul erf add mul^ mul", "gelu", when=conditions.is_single),
    Rule("GeluFusion", "div|mul erf add mul mul^", "gelu", when=conditions.is_single),
    Rule("GeluFusion", "div|mul erf add ~mul mul@", "gelu", when=conditions.is_single),
    Rule("LayerNormFusion", "mean sub^ pow|mul mean add sqrt div@ mul add", "layer_norm"),
    Rule("GatherSliceToSplitFusion", "gather ~gather", when=conditions.parts_of_all),
    Rule("GatherSliceToSplitFusion", "slice ~slice", when=conditions.parts_of_all),
    # Level 2: operators of ONNX Runtime's own.
    *QUANTIZED_RULES,
    Rule(
        "GatherSliceToSplitFusion",
        f"{QUANTIZED} ~{QUANTIZED}",
        QUANTIZED,
        when=conditions.quantized_parts,
    ),
    Rule("FastGeluFusion", "pow mul add^ mul tanh add mul^ mul", "gelu"),
    Rule("FastGeluFusion", "pow mul add^ mul tanh add ~mul mul@", "gelu"),
    Rule("GemmActivationFusion", f"linear {_GEMM_ACTIVATIONS}", "done", when=conditions.is_gemm),
    *FLOATS_OF_INTEGERS,
    Rule("ConvActivationFusion", f"{_CONV} {_ABSORBED}", "done"),
    Rule("BiasGeluFusion", "add gelu", "gelu", when=conditions.adds_a_vector),
    Rule("SkipLayerNormFusion", "add+ layer_norm", "layer_norm", when=conditions.adds_tokens),
    Rule("QuickGeluFusion", "mul sigmoid mul^", "silu", when=conditions.scales),
    Rule("QuickGeluFusion", "sigmoid mul^", "silu"),
    Rule("MatMulScaleFusion", "mul|div matmul+", when=conditions.scales_matmul),
    Rule("MatMulScaleFusion", "matmul mul|div", when=conditions.scales_matmul),
    Rule("MatmulTransposeFusion", "transpose matmul+", when=conditions.swaps_for_matmul),
    Rule("MatmulTransposeFusion", "transpose reshape matmul+", when=conditions.is_reshaped),
    Rule("MatmulTransposeFusion", "transpose matmul+", when=conditions.swaps_for_matmul),
    # A level is gone through until nothing changes: what was behind a transpose is now before it.
    Rule("MatMulScaleFusion", "mul|div matmul+", when=conditions.scales_matmul),
    Rule("TransposeOptimizer", "* transpose", when=conditions.cancels, idle=(1,)),
    # Level 3: layouts. A sum is added to what a convolution writes.
    Rule("NchwcTransformer", f"{_CONV}|batch_norm add+", "sum", when=conditions.blocked_first),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm add+", "sum", when=conditions.blocked_second),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm|sum {_BLOCKED}", "done", when=conditions.blocked),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm|sum h_swish", "done", when=conditions.blocked),
    Rule(
        "NchwcTransformer",
        f"{_CONV}|batch_norm|sum h_sigmoid mul@",
        "done",
        when=conditions.blocked,
    ),
    Rule("ConvAddActivationFusion", f"{_CONV} add+", "plain_sum", when=conditions.plain_last),
    Rule("ConvAddActivationFusion", f"plain_sum {_ABSORBED}", "done"),
    Rule("ReorderOutput", "* transpose", when=conditions.blocked_to_channels_last, idle=(1,)),
    Rule("ReorderOutput", "transpose *", when=conditions.blocked_to_channels_last, idle=(0,)),
    Rule(
        "ReorderInput",
        f"transpose {_CONV}|done|sum",
        when=conditions.channels_last_to_blocked,
        idle=(0,),
    ),
)
"""The fusions of ONNX Runtime, in the order in which it does them."""

# oneDNN's, of what a product has written; HardSigmoid is a kernel of its own.
_ACTIVATION = (
    "relu|relu6|clip|leaky_relu|prelu|elu|sigmoid|tanh|softplus|h_swish|silu|gelu|mish|abs|sqrt"
)
_CONSTANT = "add|mul|sub|div|scale|batch_norm|where"
_LIGHT = (
    f"add|sub|mul|div|scale|max|min|pow|batch_norm|light|exp|erf|neg|round|selu|reciprocal|"
    f"compare|where|{_ACTIVATION}"
)

_MIXING = "add|sub|mul|div|scale|max|min|pow|where"
# What moves no element, or only other axes, between a product and the factor of its result.
_VIEWS = ("reshape", "transpose", "reshape transpose", "reshape transpose reshape")

OPENVINO_RULES: tuple[Rule, ...] = (
    Rule("NopElimination", "* identity|dropout", idle=(1,)),
    Rule(
        "NopElimination",
        "* slice|expand|pad|tile",
        when=conditions.keeps_all,
        idle=(1,),
        is_open=True,
    ),
    Rule(
        "SharedOpOptimization",
        f"{_REPEATED} ~{_REPEATED}",
        when=conditions.alike,
        idle=(1,),
    ),
    Rule("HSwishFusion", "add clip|relu6 mul^ div|mul", "h_swish"),
    Rule("HSwishFusion", "add clip|relu6 div|mul mul^", "h_swish"),
    Rule("HSwishFusion", "h_sigmoid mul^", "h_swish"),
    Rule(
        "ConvolutionMultiplyFusion",
        f"{_CONV} batch_norm",
        when=conditions.has_plain_weights,
        idle=(1,),
    ),
    Rule(
        "ConvolutionMultiplyFusion",
        f"{_CONV} mul|scale",
        when=conditions.one_constant_a_channel,
        idle=(1,),
    ),
    Rule("SplitConvolutionConcat", "conv|convs ~conv", "convs", when=conditions.are_groups),
    Rule("SplitConvolutionConcat", "split convs concat", "conv"),
    Rule("PadFusion", f"pad {_CONV}|avg_pool", when=conditions.pads_with_zeros),
    Rule("FullyConnectedBiasFusion", "linear add", when=conditions.adds_a_bias),
    Rule("GeluFusion", "div|mul erf add mul^ mul", "gelu"),
    Rule("GeluFusion", "div|mul erf add mul mul^", "gelu"),
    Rule("GeluFusion", "div|mul erf add ~mul mul@", "gelu"),
    Rule("GeluFusion", "pow mul add^ mul tanh add mul^ mul", "gelu"),
    Rule("GeluFusion", "pow mul add^ mul tanh add ~mul mul@", "gelu"),
    Rule("SwishFusion", "sigmoid mul^", "silu"),
    Rule("MVNFusion", "mean sub^ pow|mul mean add sqrt div@ mul add", "layer_norm"),
    *QUANTIZED_RULES,
    *FLOATS_OF_INTEGERS,
    Rule(
        "BroadcastElementwiseFusion",
        "expand add|sub|mul|div|scale+",
        when=conditions.widens_one,
        idle=(0,),
    ),
    Rule("GroupedSliceToVSplit", "slice ~slice", when=conditions.slices_of_all),
    Rule("TransposeMatMul", "transpose matmul+", when=conditions.swaps_last),
    Rule("TransposeMatMul", "transpose matmul+", when=conditions.swaps_last),
    # Attention becomes one kernel by snippets.
    *(
        Rule("TokenizeMHA", f"matmul {between} matmul+", "attention", when=conditions.has_heads)
        for between in (
            "mul|div|scale softmax",
            "add+ softmax",
            "add softmax",
            "mul|div|scale add softmax",
            "mul|div|scale add+ softmax",
            "softmax",
        )
    ),
    Rule("TokenizeMHA", f"attention {_ACTIVATION}|transpose", "attention"),
    # What follows a product element by element is done as it is written: the sum with another map
    # that nothing reads later, constants of a channel, activations.
    Rule("oneDNN sum", f"{_CONV} add+", "sum", when=conditions.adds_in_place),
    Rule("oneDNN post-operation", f"{_CONV}|conv_transpose|sum|post {_ACTIVATION}", "post"),
    Rule(
        "oneDNN post-operation",
        f"{_CONV}|conv_transpose|sum|post {_CONSTANT}",
        "post",
        when=conditions.constants_of_channels,
    ),
    Rule("oneDNN post-operation", f"post {_ACTIVATION}", "post"),
    *(
        rule
        for views in _VIEWS
        for rule in (
            Rule(
                "MoveEltwiseUpThroughDataMov",
                f"{_CONV}|sum|post {views} mul|div",
                "post",
                when=conditions.scales_view,
            ),
            Rule("MoveEltwiseUpThroughDataMov", f"{_CONV}|sum|post {views} {_ACTIVATION}", "post"),
            Rule("MoveEltwiseUpThroughDataMov", f"batch_norm {views} {_ACTIVATION}", "light"),
        )
    ),
    Rule("oneDNN post-operation", f"linear|matmul|product {_ACTIVATION}", "product"),
    Rule(
        "oneDNN post-operation",
        f"linear|matmul|product {_CONSTANT}",
        "product",
        when=conditions.constants_of_features,
    ),
    Rule("oneDNN post-operation", f"linear|matmul|product {_ACTIVATION}", "product"),
    *(
        Rule(
            "MoveEltwiseUpThroughDataMov",
            f"linear|product {views} mul|div",
            "product",
            when=conditions.scales_view,
        )
        for views in _VIEWS
    ),
    Rule("oneDNN post-operation", f"mean|reduce|global_pool|resize {_ACTIVATION}"),
    Rule(
        "oneDNN post-operation",
        f"mean|reduce|global_pool|resize {_CONSTANT}",
        when=conditions.constants_of_channels,
    ),
    # Everything else that works element by element is compiled into one kernel.
    Rule("Snippets", f"layer_norm {_LIGHT}", "layer_norm"),
    Rule("Snippets", f"layer_norm {_MIXING}|light&", "layer_norm"),
    *(
        rule
        for _ in range(2)
        for rule in (
            Rule("Snippets", f"{_LIGHT} {_LIGHT}", "light"),
            Rule("Snippets", f"{_LIGHT} {_MIXING}|light&", "light"),
        )
    ),
    Rule("Snippets", f"{_LIGHT} {_LIGHT}", "light", is_open=True),
)
"""The fusions of OpenVINO's CPU plugin (2026.4, 32-bit floats, AVX-512)."""

# What one call of PyTorch does, where its graph is written as ONNX would have it.
_CALLS = (
    Rule("identity", "* identity|dropout", idle=(1,)),
    Rule("linear", "linear add", when=conditions.is_one_call),
    Rule("silu", "sigmoid mul^", "silu", when=conditions.is_one_call),
    Rule("channel_shuffle", "transpose reshape", when=conditions.is_one_call),
    Rule("scaled_dot_product_attention", "transpose mul matmul+", "scores",
         when=conditions.is_one_call),
    Rule("scaled_dot_product_attention", "mul scores+", "scores", when=conditions.is_one_call),
    *(
        Rule("scaled_dot_product_attention", f"scores {between}softmax matmul+", "attention",
             when=conditions.is_one_call)
        for between in ("add+ ", "add ", "")
    ),
    # Other strides are no work: elements move where somebody needs them side by side.
    Rule("view", "* split|slice|expand&", idle=(1,), is_open=True),
    Rule("view", "* transpose", when=conditions.is_strided, idle=(1,), is_open=True),
)  # fmt: skip

EAGER_RULES: tuple[Rule, ...] = _CALLS
"""What PyTorch runs without a compiler: a kernel an operator, of which views are none."""

_REDUCING = (
    "layer_norm|rms_norm|group_norm|instance_norm|softmax|mean|reduce|global_pool|global_max_pool"
)
_POINTWISE = f"{_LIGHT}|h_sigmoid|cast|log|trigonometric|concat|pad|slice|transpose|resize"

INDUCTOR_RULES: tuple[Rule, ...] = (
    *_CALLS,
    *(
        rule
        for _ in range(2)
        for rule in (
            Rule("pointwise", f"{_POINTWISE} {_POINTWISE}", "light"),
            Rule("pointwise", f"{_POINTWISE} {_MIXING}|light&", "light"),
        )
    ),
    Rule("reduction", f"{_POINTWISE} {_REDUCING}", "reduced", is_open=True),
    Rule("reduction", f"{_REDUCING}|reduced {_POINTWISE}", "reduced"),
    Rule("reduction", f"{_REDUCING}|reduced {_MIXING}|light&", "reduced"),
    Rule("pointwise", f"{_POINTWISE} {_POINTWISE}", "light", is_open=True),
)
"""What TorchInductor makes of it: products, convolutions and attention stay calls of a library,
and what works element by element, with the reductions beside it, is compiled into few kernels."""

EAGER = "eager"
"""PyTorch's mode that runs whatever is called, by the name that :func:`rules_of` knows."""
_BY_RUNTIME = {"openvino": OPENVINO_RULES, EAGER: EAGER_RULES, "inductor": INDUCTOR_RULES}


def rules_of(runtime: str) -> tuple[Rule, ...]:
    """Rules of a runtime, of PyTorch's ``eager`` or ``inductor``; else those of ONNX Runtime."""
    return _BY_RUNTIME.get(runtime, RULES)


def fuse(
    graph: Graph, rules: Sequence[Rule] = RULES, *, is_cut_out: bool = False
) -> tuple[Kernel, ...]:
    """A partition of all layers into kernels, as a runtime makes it.

    Kernels come in an order in which they can run. What is read from outside of a kernel, or is an
    output of the graph, is one of its layers, or several that read the same.

    Args:
        graph: any; a layer whose cost is not known stays alone.
        rules: are applied one after the other, each wherever it fits.
        is_cut_out: whether the graph is a block of a network, whose inputs others have written.
    """
    return _fused(graph, tuple(rules), is_cut_out)


# A forecast of a device asks for the same kernels twice a target, and most of its runtimes fuse
# alike: of ResNet-50 on eight targets that was a tenth of the whole command.
@lru_cache(maxsize=4)
def _fused(graph: Graph, rules: tuple[Rule, ...], is_cut_out: bool) -> tuple[Kernel, ...]:
    return joined(graph, rules, is_cut_out=is_cut_out)
