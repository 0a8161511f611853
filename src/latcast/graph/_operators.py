"""The table of operators (kind, multiply-accumulates, names in other formats), and the layer.

A layer is one operator of a network, with the shapes that it works on.

A MAC is one multiply-accumulate of a convolution or of a product of matrices (as fvcore counts
in its conv, addmm, bmm, matmul and einsum handles); everything else counts none. What has no
cost because no runtime does it is a ``view``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from ._weights import Constant, Constants
from .shapes import TensorShape


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of the table of operators.

    Attributes:
        kind: what it costs like: ``conv``, ``depthwise_conv``, ``conv_transpose``, ``linear``
            (a product with constant weights), ``matmul`` (of two activations), ``attention``,
            ``norm``, ``softmax``, ``pool``, ``reduce``, ``activation`` (one input, one output of
            its shape), ``elementwise`` (of several inputs), ``copy`` (moves elements) or
            ``view`` (does nothing at run time).
        macs: multiply-accumulates of a layer, for the whole batch.
        onnx: its names in ONNX, after the domain where that is not ONNX's own.
        aten: its names among PyTorch's operators, without ``aten``, the overload, and the
            underscore of those that work in place.
        slowdown: how many times as long as a ReLU of as many elements it takes where a runtime has
            no fast kernel of it. Measured with ONNX Runtime 1.32 on maps of 192 x 55 x 55 (one
            thread of an Intel Xeon (model 167); Sin 3.8, Tan 26), and for the pools, powers,
            hyperbolic functions, cubic maps and TopK on maps of 64 x 56 x 56 (LpPool of 2 x 2 58
            and of 3 x 3 860, maxima with their positions 14 and 70, Acosh 15 and Sinh 110, grids
            4 to 26), Softplus and Elu on 20,000 to a million numbers (27 to 33, and 4.6 to 5.7); a
            model that has seen the operator knows better.
    """

    kind: str
    macs: Callable[[Layer], int]
    onnx: tuple[str, ...] = ()
    aten: tuple[str, ...] = ()
    slowdown: float = 1.0


def _none(_: Layer) -> int:
    return 0


def _known(shape: TensorShape | None) -> TensorShape:
    assert shape is not None  # asked of graphs that were built, or of layers with a known cost
    return shape


def _conv(layer: Layer) -> int:
    """Output elements x weights of one of them; shapes are (batch, channels, sides …)."""
    channels = _known(layer.in_shapes[0])[1] // layer.groups
    return prod(_known(layer.out_shapes[0])) * channels * prod(layer.window)


def _conv_transpose(layer: Layer) -> int:
    channels = _known(layer.out_shapes[0])[1] // layer.groups
    return prod(_known(layer.in_shapes[0])) * channels * prod(layer.window)


def _product(layer: Layer) -> int:
    """Output elements x the length of the sums."""
    length = layer.sum_length or _known(layer.in_shapes[0])[-1]
    return prod(_known(layer.out_shapes[0])) * length


def _attention(layer: Layer) -> int:
    """Scores of (… tokens, features) queries and keys, and the means of values by them.

    Values may be of another width than keys. Where it is fused with the products before it, the
    sum of all is ``sum_length`` a token.
    """
    *positions, features = _known(layer.out_shapes[0])
    query = _known(layer.in_shapes[0])
    keys = _known(layer.in_shapes[min(1, len(layer.in_shapes) - 1)])[-2]
    return prod(positions) * (layer.sum_length or keys * (query[-1] + features))


def _recurrent(layer: Layer) -> int:
    """Steps and samples x what one of them multiplies, in all directions."""
    return prod(_known(layer.in_shapes[0])[:-1]) * layer.sum_length


def _row(
    kind: str,
    onnx: str = "",
    aten: str = "",
    macs: Callable[[Layer], int] = _none,
    slowdown: float = 1.0,
) -> Operator:
    return Operator(kind, macs, tuple(onnx.split()), tuple(aten.split()), slowdown)


OPERATORS: dict[str, Operator] = {
    "conv": _row("conv",
        "Conv com.microsoft::FusedConv ConvInteger QLinearConv DeformConv com.microsoft::NhwcConv "
        "com.microsoft::NhwcFusedConv com.microsoft::QLinearConv com.microsoft.nchwc::Conv",
        "conv1d conv2d conv3d convolution _convolution", _conv),
    "depthwise_conv": _row("depthwise_conv", macs=_conv),
    "conv_transpose": _row("conv_transpose", "ConvTranspose",
        "conv_transpose1d conv_transpose2d conv_transpose3d", _conv_transpose),
    "linear": _row("linear",
        "Gemm com.microsoft::FusedGemm com.microsoft::QGemm com.microsoft::MatMulNBits "
        "com.microsoft::MatMulBnb4 com.microsoft::GemmFastGelu com.microsoft::MoE "
        "com.microsoft::QMoE", "linear", _product),
    "matmul": _row("matmul",
        "MatMul MatMulInteger QLinearMatMul com.microsoft::FusedMatMul "
        "com.microsoft::TransposeMatMul com.microsoft::DynamicQuantizeMatMul "
        "com.microsoft::MatMulIntegerToFloat com.microsoft::MatMulInteger16 Einsum",
        "matmul mm bmm mv dot addmm baddbmm einsum", _product),
    "lstm": _row("linear", "LSTM com.microsoft::DynamicQuantizeLSTM", "lstm", _recurrent),
    "gru": _row("linear", "GRU", "gru", _recurrent),
    "rnn": _row("linear", "RNN", "rnn_tanh rnn_relu", _recurrent),
    "attention": _row("attention",
        "Attention com.microsoft::MultiHeadAttention com.microsoft::Attention "
        "com.microsoft::DecoderMaskedSelfAttention com.microsoft::QAttention "
        "com.microsoft::PackedAttention com.microsoft::DecoderMaskedMultiHeadAttention "
        "com.microsoft::PackedMultiHeadAttention com.microsoft::GroupQueryAttention "
        "com.microsoft::SparseAttention",
        "scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu "
        "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention", _attention),
    "batch_norm": _row("norm", "BatchNormalization",
        "batch_norm _native_batch_norm_legit native_batch_norm "
        "_native_batch_norm_legit_no_training cudnn_batch_norm"),
    "layer_norm": _row("norm",
        "LayerNormalization com.microsoft::LayerNormalization "
        "com.microsoft::SkipLayerNormalization com.microsoft::EmbedLayerNormalization "
        "com.microsoft::QEmbedLayerNormalization", "layer_norm native_layer_norm"),
    "group_norm": _row("norm",
        "GroupNormalization com.microsoft::GroupNorm com.microsoft::SkipGroupNorm",
        "group_norm native_group_norm", slowdown=5.0),
    "instance_norm": _row("norm", "InstanceNormalization MeanVarianceNormalization",
        "instance_norm"),
    "rms_norm": _row("norm",
        "RMSNormalization SimplifiedLayerNormalization LpNormalization "
        "com.microsoft::SkipSimplifiedLayerNormalization com.microsoft::GatedRMSNorm",
        "rms_norm _fused_rms_norm"),
    "lrn": _row("norm", "LRN", slowdown=54.0),
    "softmax": _row("softmax",
        "Softmax com.microsoft::QLinearSoftmax com.microsoft::BiasSoftmax",
        "softmax _softmax _safe_softmax"),
    "log_softmax": _row("softmax", "LogSoftmax", "log_softmax _log_softmax"),
    "max_pool": _row("pool", "MaxPool com.microsoft::NhwcMaxPool com.microsoft.nchwc::MaxPool",
        "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
        "max_pool3d_with_indices"),
    "avg_pool": _row("pool",
        "AveragePool com.microsoft::QLinearAveragePool com.microsoft.nchwc::AveragePool",
        "avg_pool1d avg_pool2d avg_pool3d"),
    "lp_pool": _row("pool", "LpPool", slowdown=250.0),
    "max_pool_indices": _row("pool", slowdown=30.0),
    "adaptive_pool": _row("pool"),
    "global_pool": _row("reduce",
        "GlobalAveragePool com.microsoft::QLinearGlobalAveragePool "
        "com.microsoft.nchwc::GlobalAveragePool",
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool1d "
        "_adaptive_avg_pool2d _adaptive_avg_pool3d"),
    "global_lp_pool": _row("reduce", "GlobalLpPool", slowdown=53.0),
    "global_max_pool": _row("reduce", "GlobalMaxPool com.microsoft.nchwc::GlobalMaxPool",
        "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d _adaptive_max_pool1d "
        "_adaptive_max_pool2d _adaptive_max_pool3d"),
    "mean": _row("reduce", "ReduceMean com.microsoft::QLinearReduceMean", "mean"),
    "reduce": _row("reduce",
        "ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
        "ReduceSumSquare CumSum",
        "sum prod amax amin max min var std var_mean norm linalg_vector_norm logsumexp cumsum any "
        "all"),
    "arg_reduce": _row("reduce", "ArgMax ArgMin", "argmax argmin"),
    "top_k": _row("reduce", "TopK", "topk sort argsort", slowdown=14.0),
    "relu": _row("activation", "Relu ThresholdedRelu", "relu threshold"),
    "relu6": _row("activation", "", "relu6"),
    "clip": _row("activation", "Clip", "clamp clamp_min clamp_max hardtanh"),
    "shrink": _row("activation", "Shrink", "hardshrink softshrink", slowdown=12.0),
    "leaky_relu": _row("activation", "LeakyRelu com.microsoft::QLinearLeakyRelu",
        "leaky_relu rrelu"),
    "prelu": _row("activation", "PRelu", "prelu _prelu_kernel", slowdown=10.0),
    "elu": _row("activation", "Elu", "elu", slowdown=5.0),
    "selu": _row("activation", "Selu", "selu", slowdown=3.8),
    "celu": _row("activation", "Celu", "celu", slowdown=5.0),
    "sigmoid": _row("activation", "Sigmoid com.microsoft::QLinearSigmoid",
        "sigmoid log_sigmoid special_expit"),
    "tanh": _row("activation", "Tanh ScaledTanh", "tanh"),
    "softplus": _row("activation", "Softplus ParametricSoftplus", "softplus", slowdown=28.0),
    "softsign": _row("activation", "Softsign", "softsign"),
    "h_swish": _row("activation", "HardSwish", "hardswish"),
    "h_sigmoid": _row("activation", "HardSigmoid", "hardsigmoid"),
    "silu": _row("activation", "Swish com.microsoft::QuickGelu com.microsoft::ScaledSiLU",
        "silu"),
    "gelu": _row("activation",
        "Gelu com.microsoft::Gelu com.microsoft::FastGelu com.microsoft::BiasGelu "
        "com.microsoft::BiasSplitGelu", "gelu"),
    "mish": _row("activation", "Mish", "mish", slowdown=25.0),
    "erf": _row("activation", "Erf", "erf special_erf"),
    "exp": _row("activation", "Exp", "exp exp2 expm1"),
    "log": _row("activation", "Log", "log log2 log10 log1p", slowdown=3.8),
    "sqrt": _row("activation", "Sqrt", "sqrt rsqrt"),
    "reciprocal": _row("activation", "Reciprocal", "reciprocal"),
    "neg": _row("activation", "Neg", "neg"),
    "abs": _row("activation", "Abs", "abs"),
    "round": _row("activation", "Sign Floor Ceil Round", "round floor ceil trunc sign frac"),
    "trigonometric": _row("activation", "Sin Cos Tan Asin Acos Atan",
        "sin cos tan asin acos atan", slowdown=10.0),
    "hyperbolic": _row("activation", "Sinh Cosh Asinh Acosh Atanh",
        "sinh cosh asinh acosh atanh", slowdown=55.0),
    "not": _row("activation", "Not BitwiseNot", "logical_not bitwise_not"),
    "cast": _row("activation", "Cast CastLike", "to _to_copy type_as float half bfloat16"),
    "quantize": _row("activation",
        "QuantizeLinear com.microsoft::QuantizeLinear DynamicQuantizeLinear"),
    "dequantize": _row("activation", "DequantizeLinear com.microsoft::DequantizeLinear"),
    "add": _row("elementwise", "Add Sum Mean com.microsoft::QLinearAdd com.microsoft::BiasAdd",
        "add addcmul addcdiv lerp"),
    "sub": _row("elementwise", "Sub", "sub rsub subtract"),
    "mul": _row("elementwise",
        "Mul ImageScaler Affine com.microsoft::QLinearMul com.microsoft::ComplexMul "
        "com.microsoft::SwiGLU",
        "mul multiply square"),
    "rotary": _row("elementwise", "RotaryEmbedding com.microsoft::RotaryEmbedding"),
    "div": _row("elementwise", "Div", "div true_divide floor_divide"),
    "pow": _row("elementwise", "Pow", "pow float_power atan2"),
    "power": _row("elementwise", slowdown=17.0),
    "min": _row("elementwise", "Min", "minimum fmin"),
    "max": _row("elementwise", "Max", "maximum fmax"),
    "scale": _row("elementwise"),
    "where": _row("elementwise", "Where Trilu com.microsoft::QLinearWhere com.microsoft::Trilu",
        "where masked_fill tril triu nan_to_num"),
    "compare": _row("elementwise",
        "Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor IsNaN IsInf BitShift BitwiseAnd "
        "BitwiseOr BitwiseXor",
        "eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor "
        "isnan isinf __and__ __or__ __xor__"),
    "mod": _row("elementwise", "Mod", "remainder fmod", slowdown=19.0),
    "concat": _row("copy", "Concat ConcatFromSequence com.microsoft::QLinearConcat",
        "cat concat stack hstack vstack"),
    "split": _row("copy", "Split SplitToSequence",
        "split split_with_sizes chunk tensor_split unbind unsafe_split unsafe_chunk split_copy "
        "split_with_sizes_copy"),
    "slice": _row("copy", "Slice", "slice narrow slice_copy diagonal"),
    "pad": _row("copy", "Pad com.microsoft::Pad",
        "pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d "
        "replication_pad2d zero_pad2d"),
    "transpose": _row("copy",
        "Transpose com.microsoft.nchwc::ReorderInput com.microsoft.nchwc::ReorderOutput",
        "permute transpose t movedim moveaxis swapaxes swapdims mT numpy_T permute_copy "
        "transpose_copy adjoint"),
    "gather": _row("copy",
        "Gather GatherElements GatherND NonZero com.microsoft::GatherND "
        "com.microsoft::GatherBlockQuantized",
        "select index index_select gather embedding flip im2col unfold take_along_dim "
        "_unsafe_index"),
    "scatter": _row("copy", "ScatterND ScatterElements Scatter OneHot Col2Im",
        "scatter scatter_add index_put slice_scatter select_scatter index_add masked_scatter "
        "one_hot _unsafe_index_put col2im"),
    "expand": _row("copy", "Expand", "expand expand_as broadcast_to expand_copy"),
    "tile": _row("copy", "Tile", "repeat tile repeat_interleave"),
    "resize": _row("copy", "Resize Upsample com.microsoft.nchwc::Upsample",
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d "
        "upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d"),
    "resize_cubic": _row("copy", "", "upsample_bicubic2d _upsample_bicubic2d_aa", slowdown=1000.0),
    "grid_sample": _row("copy", "GridSample com.microsoft::GridSample",
        "grid_sampler grid_sampler_2d grid_sampler_3d", slowdown=10.0),
    "grid_sample_cubic": _row("copy", slowdown=200.0),
    "channel_shuffle": _row("copy", "", "channel_shuffle native_channel_shuffle"),
    "space_to_depth": _row("copy", "SpaceToDepth", "pixel_unshuffle"),
    "depth_to_space": _row("copy", "DepthToSpace", "pixel_shuffle"),
    "zero": _row("copy"),
    "roll": _row("copy", "", "roll"),
    "body": _row("view"),
    "sequence": _row("view",
        "SequenceEmpty SequenceConstruct SequenceInsert SequenceErase SequenceAt SequenceLength"),
    "reshape": _row("view", "Reshape Flatten Squeeze Unsqueeze com.microsoft::ExpandDims",
        "view reshape flatten unflatten squeeze unsqueeze view_as _unsafe_view reshape_as ravel "
        "atleast_2d _reshape_alias view_copy unsqueeze_copy squeeze_copy"),
    "identity": _row("view", "Identity Optional OptionalGetElement",
        "alias detach contiguous clone lift_fresh_copy lift_fresh positive alias_copy detach_copy "
        "resolve_conj copy fill zero"),
    "dropout": _row("view", "Dropout", "dropout feature_dropout alpha_dropout native_dropout"),
    "constant": _row("view", "Shape Size EyeLike ConstantOfShape Range com.microsoft::Range",
        "zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones "
        "new_full new_empty sym_size sym_numel size numel arange"),
}  # fmt: skip
"""Operator -> its row, with its names in ONNX and in aten separated by spaces.

``power`` has another exponent than 2 or 3, of which runtimes make products; ``max_pool_indices``
tells where the maxima are; ``sequence`` handles lists of tensors, which are not copied; ``body``
is where a loop or a branch begins or ends; ``scale`` multiplies a map by one factor a channel;
``reshape`` stands for flatten, squeeze and unsqueeze too; ``compare`` for logic too. An
activation, a norm or an elementwise operator needs no more than its row to be read from either
format; operators of other kinds need a rule in the reader of a format where their shapes or windows
are to be found.
"""

# Recurrent operator -> gates, each a product of what a step reads and of what was before.
RECURRENT = {"lstm": 4, "gru": 3, "rnn": 1}

KINDS = tuple(dict.fromkeys(x.kind for x in OPERATORS.values()))
"""All kinds, in a fixed order."""


# --- layers ------------------------------------------------------------------------------------

GRAPH_INPUT = -1
"""Index by which a layer names an input of its graph. A layer that names it several times reads as
many inputs, in order; two layers that name it once read the same."""

UNKNOWN = "unknown"
"""Operator of a layer whose cost nobody knows."""


# Operators that look up rows of tables -> numbers of their constants that they read at most for one
# that they write: of an embedding its row; of BERT's three embeddings and their norm, three rows, a
# scale and a shift.
_LOOKED_UP = {"gather": 1, "layer_norm": 5}


class Layer(NamedTuple):
    """One operator of a graph, with shapes that include the batch.

    Attributes:
        name: of the node in the file that it was read from; unique in its graph.
        op: a key of :data:`OPERATORS`, or :data:`UNKNOWN`.
        operator: what its source calls it, such as ``Conv``, ``com.example::Conv`` or
            ``aten.convolution.default``.
        inputs: positions of the layers whose outputs it reads, in order;
            :data:`GRAPH_INPUT` for an input of the graph. Constants are not listed.
        in_shapes: shapes of those inputs, in the same order; None where nobody knows.
        out_shapes: shapes of its outputs; None where nobody knows.
        params: trainable numbers that it reads: weights, biases, scales and shifts.
        param_bytes: bytes of all constants that it reads.
        shared_bytes: of these, bytes of constants that an earlier layer reads too.
        window: height and width of the window of a convolution or pool.
        stride: steps of the window; of a slice the largest one, as a width.
        dilation: of the window.
        groups: convolution groups, or heads of an attention.
        element_bytes: bytes of one element of its activations; of the largest, where they differ.
        bits: of one element of each input, then of each output, where they are not all of that.
        sum_length: terms of each sum of a product (``linear``, ``matmul``); 0 where it is the
            last axis of its first input. Of a resize the elements that one is interpolated from,
            where they are several. Of a recurrent operator, and of an attention where it is
            not 0, the multiply-accumulates of one position of a sample.
        order: axes of the input in the order in which a transpose writes them; empty where nobody
            knows. Of a ``Gemm`` (0, 1) where its weights are not turned.
        ports: of every input which output of that layer it is; empty if all are the first.
        constants: what it reads beside its inputs, where it was built to be written; empty where
            it was read from a file.
        attributes: names and values of what a writer must know besides, as ONNX calls them: the
            ``pads`` of a window, the ``axis`` of a softmax.
        inside: share of the taps of a dilated window that fall inside of its input; runtimes pass
            over those in the padding.
        steps: of a recurrent operator, each of which reads its weights again.
        runs: how often it runs in a pass: the trips of the loops that it is in. 0 where it is in a
            branch that costs less than the other one of its ``If``.
        min_runs: the same with the cheapest branches and fewest trips; None where it is ``runs``.
        precision: of what it multiplies, as its file holds it: that of the weights, or else of
            both activations, before they are dequantized.
        weight_bits: of one of its weights, where a dequantization gives them; else 0.
        grid: of a quantization or its inverse its scale, zero point and least integer; empty where
            scales are several or not known. Of a layer whose weights are dequantized the least
            integer of their type.
        inferred: whether a runtime that computes no constants knows the shapes of its outputs as it
            loads the file.
    """

    name: str
    op: str
    operator: str
    inputs: tuple[int, ...]
    in_shapes: tuple[TensorShape | None, ...]
    out_shapes: tuple[TensorShape | None, ...]
    params: int = 0
    param_bytes: int = 0
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    element_bytes: int = 4
    sum_length: int = 0
    order: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()
    constants: tuple[Constant, ...] = ()
    attributes: tuple[tuple[str, Any], ...] = ()
    inside: float = 1.0
    steps: int = 1
    runs: int = 1
    min_runs: int | None = None
    bits: tuple[int, ...] = ()
    precision: str = "fp32"
    weight_bits: int = 0
    grid: tuple[float, ...] = ()
    shared_bytes: int = 0
    inferred: bool = True

    @property
    def read_param_bytes(self) -> int:
        """Bytes of its constants that a step reads: of a table whose rows are looked up, those."""
        numbers = _LOOKED_UP.get(self.op)
        if numbers is None or not self.out_shapes or self.out_shapes[0] is None:
            return self.param_bytes
        # A table of integers is narrower than what is written.
        width = self.param_bytes / self.params if self.params else self.element_bytes
        return min(self.param_bytes, math.ceil(numbers * prod(self.out_shapes[0]) * width))

    @property
    def in_shape(self) -> TensorShape:
        """Shape of the first input, which must be known."""
        return _known(self.in_shapes[0])

    @property
    def out_shape(self) -> TensorShape:
        """Shape of the first output, which must be known."""
        return _known(self.out_shapes[0])

    @property
    def is_supported(self) -> bool:
        """Whether its cost is known: the operator, and all shapes."""
        return self.op in OPERATORS and None not in (*self.in_shapes, *self.out_shapes)

    @property
    def kind(self) -> str:
        """Kind of its operator (see :data:`OPERATORS`), or :data:`UNKNOWN`."""
        return OPERATORS[self.op].kind if self.is_supported else UNKNOWN

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a run on the whole batch (0 without weights or a product).

        Raises:
            ValueError: the cost is not known.
        """
        if not self.is_supported:
            raise ValueError(f"layer {self.name!r}: the cost of {self.operator} is not known")
        return OPERATORS[self.op].macs(self)

    @property
    def read_bytes(self) -> int:
        """Bytes of its activations that are read; what is not known counts nothing."""
        if self.bits:
            return sum(self.in_bytes(n) for n in range(len(self.in_shapes)))
        return self.element_bytes * _elements(self.in_shapes)

    @property
    def write_bytes(self) -> int:
        """Bytes of its outputs; what is not known counts nothing."""
        if self.bits:
            return sum(self.out_bytes(n) for n in range(len(self.out_shapes)))
        return self.element_bytes * _elements(self.out_shapes)

    def in_bytes(self, n: int, bits: int = 0) -> int:
        """Bytes of an input, or of one whose elements are of so many bits."""
        return _bytes(self.in_shapes[n], bits or self.in_bits(n))

    def out_bytes(self, n: int, bits: int = 0) -> int:
        """Bytes of an output, or of one whose elements are of so many bits."""
        return _bytes(self.out_shapes[n], bits or self.out_bits(n))

    def in_bits(self, n: int) -> int:
        """Bits of one element of an input."""
        return self.bits[n] if self.bits else 8 * self.element_bytes

    def out_bits(self, n: int) -> int:
        """Bits of one element of an output."""
        return self.bits[len(self.in_shapes) + n] if self.bits else 8 * self.element_bytes

    @property
    def dequantized_bytes(self) -> int:
        """Bytes that dequantizing its weights writes; 0 where they are none."""
        if not self.weight_bits:
            return 0
        return self.param_bytes * 8 // self.weight_bits * self.element_bytes

    @property
    def word(self) -> str:
        """The name without its number."""
        return self.name.rpartition("_")[0] or self.name

    def reading(self, constants: Constants) -> Layer:
        """The layer with other constants."""
        return self._replace(
            constants=constants.items, params=constants.params, param_bytes=constants.bytes
        )

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        return dict(self.attributes).get(name, default)


def _bytes(shape: TensorShape | None, bits: int) -> int:
    return 0 if shape is None else -(-prod(shape) * bits // 8)


def _elements(shapes: tuple[TensorShape | None, ...]) -> int:
    total = 0
    for shape in shapes:  # as a sum it would take twice as long, which spaces feel
        if shape is not None:
            total += prod(shape)
    return total
