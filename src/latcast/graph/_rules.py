"""Which layers become one kernel: rules that are data.

:data:`RULES` are those of ONNX Runtime's optimizer for CPUs (all levels, ``ORT_ENABLE_ALL``),
whose names are given where a rule has one; ``benchmarks/fusion.py`` compares what comes of them. A
rule is a path of kernels; what it makes goes by a word that later rules can read on. Where a
convolution runs in blocks of channels is told by :mod:`._blocked`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _conditions as where

if TYPE_CHECKING:
    from ._conditions import Condition

_CONV = "conv|depthwise_conv"
_ABSORBED = "relu|relu6|clip|sigmoid|tanh|leaky_relu|h_sigmoid"
_BLOCKED = "relu|sigmoid|tanh|h_sigmoid"
_REPEATED = "relu|relu6|sigmoid|tanh|h_swish|h_sigmoid|gelu|max_pool|avg_pool|global_pool|add|mul"
"""What is the same if it reads the same and has the same shapes."""
_GEMM_ACTIVATIONS = "relu|sigmoid|tanh|leaky_relu|h_sigmoid|elu|selu|softplus|softsign"


@dataclass(frozen=True, slots=True)
class Rule:
    """A path of kernels that become one.

    Attributes:
        name: of what happens.
        path: a word per kernel, each of which reads the one before it: operators of
            :data:`latcast.graph.OPERATORS`, or what earlier rules made, alternatives
            parted by ``|`` (``*`` is any). A sign after it tells what else the kernel reads,
            which by default is constants alone: ``^`` what the first one reads, ``@`` an earlier
            one of the path, ``+`` one kernel more. A kernel with ``~`` before it does not read
            the one before it, but what the first one reads.
        becomes: what the kernel goes by from then on; by default what the one with most work did.
        when: what must hold beside, if anything.
        idle: places in the path of the kernels that do not run any more.

    Only the last kernel of a path may be read from outside, or give an output of the graph; or
    all of them, if all others read what the first one reads.
    """

    name: str
    path: str
    becomes: str = ""
    when: Condition | None = None
    idle: tuple[int, ...] = ()


RULES: tuple[Rule, ...] = (
    Rule("EliminateIdentity", "* identity|dropout", idle=(1,)),
    Rule("EliminateSlice", "* slice|expand", when=where.keeps_all, idle=(1,)),
    Rule(
        "CommonSubexpressionElimination",
        f"{_REPEATED} ~{_REPEATED}",
        when=where.alike,
        idle=(1,),
    ),
    # Level 1: operators of ONNX alone.
    Rule("ConvBNFusion", f"{_CONV} batch_norm", idle=(1,)),
    Rule("ConvMulFusion", f"{_CONV} mul|scale", when=where.one_constant_a_channel, idle=(1,)),
    Rule("ConvAddFusion", f"{_CONV} add", when=where.one_constant_a_channel, idle=(1,)),
    Rule("PadFusion", f"pad {_CONV}|max_pool|avg_pool", when=where.pads_with_zeros),
    Rule("FuseReluClip", "relu clip|relu6", "clip", idle=(0,)),
    Rule("MatMulAddFusion", "linear add", when=where.adds_a_bias),
    Rule("GeluFusion", "div|mul erf add mul^ mul", "gelu"),
    Rule("GeluFusion", "div|mul erf add mul mul^", "gelu"),
    Rule("GeluFusion", "div|mul erf add ~mul mul@", "gelu"),
    Rule("LayerNormFusion", "mean sub^ pow|mul mean add sqrt div@ mul add", "layer_norm"),
    # Level 2: operators of ONNX Runtime's own.
    Rule("FastGeluFusion", "pow mul add^ mul tanh add mul^ mul", "gelu"),
    Rule("FastGeluFusion", "pow mul add^ mul tanh add ~mul mul@", "gelu"),
    Rule("GemmActivationFusion", f"linear {_GEMM_ACTIVATIONS}", "done", when=where.is_gemm),
    Rule("ConvActivationFusion", f"{_CONV} {_ABSORBED}", "done"),
    Rule("GatherSliceToSplitFusion", "gather ~gather", when=where.parts_of_all),
    Rule("GatherSliceToSplitFusion", "slice ~slice", when=where.parts_of_all),
    Rule("BiasGeluFusion", "add gelu", "gelu", when=where.adds_a_vector),
    Rule("SkipLayerNormFusion", "add+ layer_norm", "layer_norm", when=where.adds_tokens),
    Rule("QuickGeluFusion", "mul sigmoid mul^", "silu", when=where.scales),
    Rule("QuickGeluFusion", "sigmoid mul^", "silu"),
    Rule("MatMulScaleFusion", "mul|div matmul+", when=where.scales_matmul),
    Rule("MatMulScaleFusion", "matmul mul|div", when=where.scales_matmul),
    Rule("MatmulTransposeFusion", "transpose matmul+", when=where.swaps_for_matmul),
    Rule("MatmulTransposeFusion", "transpose reshape matmul+", when=where.is_reshaped),
    Rule("MatmulTransposeFusion", "transpose matmul+", when=where.swaps_for_matmul),
    Rule("TransposeOptimizer", "* transpose", when=where.cancels, idle=(1,)),
    # Level 3: layouts. A sum is added to what a convolution writes.
    Rule("NchwcTransformer", f"{_CONV}|batch_norm add+", "sum", when=where.blocked_first),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm add+", "sum", when=where.blocked_second),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm|sum {_BLOCKED}", "done", when=where.blocked),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm|sum h_swish", "done", when=where.blocked),
    Rule("NchwcTransformer", f"{_CONV}|batch_norm|sum h_sigmoid mul@", "done", when=where.blocked),
    Rule("ConvAddActivationFusion", f"{_CONV} add+", "plain_sum", when=where.plain_last),
    Rule("ConvAddActivationFusion", f"plain_sum {_ABSORBED}", "done"),
    Rule("ReorderOutput", "* transpose", when=where.blocked_to_channels_last, idle=(1,)),
    Rule("ReorderOutput", "transpose *", when=where.blocked_to_channels_last, idle=(0,)),
    Rule(
        "ReorderInput",
        f"transpose {_CONV}|done|sum",
        when=where.channels_last_to_blocked,
        idle=(0,),
    ),
)
"""What ONNX Runtime fuses, in the order in which it does."""

_ANY_ACTIVATION = (
    "relu|relu6|clip|leaky_relu|prelu|elu|selu|sigmoid|tanh|softplus|h_swish|h_sigmoid|silu|gelu|"
    "mish|exp|abs|sqrt|erf|softsign"
)
_HEAVY = "conv|depthwise_conv|conv_transpose|linear|matmul|batch_norm|sum|plain_sum|done|post"
_LIGHT = f"add|sub|mul|div|scale|max|min|pow|light|{_ANY_ACTIVATION}"

OPENVINO_RULES: tuple[Rule, ...] = (
    Rule("HSwishFusion", "add clip|relu6 mul^ div|mul", "h_swish"),
    Rule("HSwishFusion", "add clip|relu6 div|mul mul^", "h_swish"),
    Rule("HSwishFusion", "h_sigmoid mul^", "h_swish"),
    *RULES,
    Rule("oneDNN post-operation", f"{_HEAVY} {_ANY_ACTIVATION}", "post"),
    Rule("oneDNN post-operation", f"{_HEAVY} add|mul|sub|div|scale", "post"),
    Rule("oneDNN post-operation", f"{_HEAVY} add+", "post", when=where.adds_equals),
    Rule("oneDNN post-operation", f"{_HEAVY} {_ANY_ACTIVATION}", "post"),
    Rule("Snippets", f"{_LIGHT} {_LIGHT}", "light"),
    Rule("Snippets", f"{_LIGHT} {_LIGHT}", "light"),
)
"""What OpenVINO's CPU plugin fuses besides: element by element work becomes part of the product
before it, or one kernel of its own. Checked by the share of kernels that its profiler times."""

_BY_RUNTIME = {"openvino": OPENVINO_RULES}


def rules_of(runtime: str) -> tuple[Rule, ...]:
    """Rules of a runtime; those of ONNX Runtime for all that have none of their own."""
    return _BY_RUNTIME.get(runtime, RULES)
