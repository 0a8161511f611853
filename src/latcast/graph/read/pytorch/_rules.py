"""The table of aten operators: what each is in our vocabulary."""

from __future__ import annotations

from functools import partial

from latcast.graph._graph import TensorShape

from ._operation import Facts, Operation, Rule
from ._products import PRODUCTS


def _plain(_: Operation, op: str) -> Facts:
    return Facts(op)


def _of_two(o: Operation, op: str) -> Facts:
    """Of two tensors, or of one and a number."""
    return Facts(op, (*o.operands, *o.scalars("other", "exponent")))


def _clamp(o: Operation, low: str, high: str) -> Facts:
    """By its bounds: ``relu6`` from 0 to 6, ``relu`` from 0, else ``clip``."""
    bounds = (o.arguments.get(low), o.arguments.get(high))
    op = "relu6" if bounds == (0, 6) else "relu" if bounds == (0, None) else "clip"
    return Facts(op, o.operands + (o.scalars(low, high) if op != "relu" else ()))


def _hardtanh(o: Operation) -> Facts:
    bounds = (o.arguments.get("min_val", -1), o.arguments.get("max_val", 1))
    reads = (*o.operands, *o.scalars("min_val", "max_val"))
    return Facts("relu6" if bounds == (0, 6) else "clip", reads)


def _mul(o: Operation) -> Facts:
    """A product; of a map by one factor a channel it is a ``scale``."""
    shapes = [t.shape for t in o.operands]
    pairs = (shapes, shapes[::-1]) if len(shapes) == 2 else ()
    return _of_two(o, "scale" if any(_is_scale(a, b) for a, b in pairs) else "mul")


def _is_scale(shape: TensorShape, factors: TensorShape) -> bool:
    if len(shape) != 4 or len(factors) not in {3, 4} or shape[2:] == (1, 1):
        return False
    batch, channels, *sides = (1, *factors)[-4:]
    return batch in {1, shape[0]} and channels == shape[1] and sides == [1, 1]


def _moved(o: Operation, op: str) -> Facts:
    """What gives its input's shape has nothing to do."""
    return Facts("identity" if o.operands[0].shape == o.outputs[0].shape else op)


def _copied(o: Operation) -> Facts:
    """What is copied over another tensor takes its place."""
    source = o.tensor("src")
    stays = source.shape == o.outputs[0].shape
    return Facts("identity" if stays else "expand", (source,))


def _filled(_: Operation) -> Facts:
    return Facts("identity", ())


def _cast(o: Operation) -> Facts:
    same = o.operands[0].dtype == o.outputs[0].dtype
    return Facts("identity" if same else "cast")


def _plain_table() -> dict[str, str]:
    """Names of aten operators, by what they are."""
    table: dict[str, tuple[str, ...]] = {
        "batch_norm": ("batch_norm", "_native_batch_norm_legit", "native_batch_norm",
                       "_native_batch_norm_legit_no_training", "cudnn_batch_norm"),
        "layer_norm": ("layer_norm", "native_layer_norm"),
        "group_norm": ("group_norm", "native_group_norm"),
        "instance_norm": ("instance_norm",),
        "rms_norm": ("rms_norm", "_fused_rms_norm"),
        "softmax": ("softmax", "_softmax", "_safe_softmax"),
        "log_softmax": ("log_softmax", "_log_softmax"),
        "relu": ("relu", "threshold"),
        "relu6": ("relu6",),
        "leaky_relu": ("leaky_relu", "rrelu"),
        "prelu": ("prelu", "_prelu_kernel"),
        "elu": ("elu",),
        "selu": ("selu",),
        "celu": ("celu",),
        "sigmoid": ("sigmoid", "log_sigmoid", "special_expit"),
        "tanh": ("tanh",),
        "softplus": ("softplus",),
        "softsign": ("softsign",),
        "h_swish": ("hardswish",),
        "h_sigmoid": ("hardsigmoid",),
        "silu": ("silu",),
        "gelu": ("gelu",),
        "mish": ("mish",),
        "erf": ("erf", "special_erf"),
        "exp": ("exp", "exp2", "expm1"),
        "log": ("log", "log2", "log10", "log1p"),
        "sqrt": ("sqrt", "rsqrt"),
        "reciprocal": ("reciprocal",),
        "neg": ("neg",),
        "abs": ("abs",),
        "round": ("round", "floor", "ceil", "trunc", "sign", "frac"),
        "trigonometric": ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
                          "asinh", "acosh", "atanh"),
        "not": ("logical_not", "bitwise_not"),
        "clip": ("hardshrink", "softshrink"),
        "where": ("where", "masked_fill", "tril", "triu", "nan_to_num"),
        "mean": ("mean",),
        "reduce": ("sum", "prod", "amax", "amin", "max", "min", "var", "std", "var_mean", "norm",
                   "linalg_vector_norm", "logsumexp", "cumsum", "any", "all"),
        "arg_reduce": ("argmax", "argmin", "topk", "sort", "argsort"),
        "concat": ("cat", "concat", "stack", "hstack", "vstack"),
        "split": ("split", "split_with_sizes", "chunk", "tensor_split", "unbind",
                  "unsafe_split", "unsafe_chunk", "split_copy", "split_with_sizes_copy"),
        "gather": ("select", "index", "index_select", "gather", "embedding", "flip",
                   "im2col", "unfold", "take_along_dim", "_unsafe_index"),
        "scatter": ("scatter", "scatter_add", "index_put", "slice_scatter", "select_scatter",
                    "index_add", "masked_scatter", "one_hot", "_unsafe_index_put"),
        "pad": ("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d",
                "replication_pad1d", "replication_pad2d", "zero_pad2d"),
        "tile": ("repeat", "tile", "repeat_interleave"),
        "roll": ("roll",),
        "resize": ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
                   "_upsample_nearest_exact2d", "upsample_linear1d", "upsample_bilinear2d",
                   "_upsample_bilinear2d_aa", "upsample_bicubic2d", "_upsample_bicubic2d_aa",
                   "upsample_trilinear3d"),
        "depth_to_space": ("pixel_shuffle",),
        "space_to_depth": ("pixel_unshuffle",),
    }  # fmt: skip
    return {name: op for op, names in table.items() for name in names}


def _of_two_table() -> dict[str, str]:
    """Likewise of those that read two tensors, or one and a number."""
    table: dict[str, tuple[str, ...]] = {
        "add": ("add", "addcmul", "addcdiv", "lerp"),
        "sub": ("sub", "rsub", "subtract"),
        "div": ("div", "true_divide", "floor_divide"),
        "pow": ("pow", "square", "float_power", "atan2"),
        "min": ("minimum", "fmin"),
        "max": ("maximum", "fmax"),
        "mod": ("remainder", "fmod"),
        "compare": ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
                    "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "isnan", "isinf",
                    "__and__", "__or__", "__xor__"),
    }  # fmt: skip
    return {name: op for op, names in table.items() for name in names}


def _moves() -> dict[str, str]:
    """Likewise of those that do nothing where the shape stays."""
    table = {
        "reshape": ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as",
                    "_unsafe_view", "reshape_as", "ravel", "atleast_2d", "_reshape_alias",
                    "view_copy", "unsqueeze_copy", "squeeze_copy"),
        "expand": ("expand", "expand_as", "broadcast_to", "expand_copy"),
        "slice": ("slice", "narrow", "slice_copy", "diagonal"),
    }  # fmt: skip
    return {name: op for op, names in table.items() for name in names}


def _turns() -> dict[str, str]:
    names = ("permute", "transpose", "t", "movedim", "moveaxis", "swapaxes", "swapdims", "mT",
             "numpy_T", "permute_copy", "transpose_copy", "adjoint")  # fmt: skip
    return dict.fromkeys(names, "transpose")


def _rules() -> dict[str, Rule]:
    plain: dict[str, Rule] = {n: partial(_plain, op=op) for n, op in _plain_table().items()}
    pairs: dict[str, Rule] = {n: partial(_of_two, op=op) for n, op in _of_two_table().items()}
    moves: dict[str, Rule] = {n: partial(_moved, op=op) for n, op in _moves().items()}
    turns: dict[str, Rule] = {n: partial(_plain, op=op) for n, op in _turns().items()}
    others: dict[str, Rule] = {
        "clamp": partial(_clamp, low="min", high="max"),
        "clamp_min": partial(_clamp, low="min", high=""),
        "clamp_max": partial(_clamp, low="", high="max"),
        "copy": _copied,
        "fill": _filled,
        "zero": _filled,
        "hardtanh": _hardtanh,
        "mul": _mul,
        "multiply": _mul,
        **dict.fromkeys(("to", "_to_copy", "type_as", "float", "half", "bfloat16"), _cast),
        **dict.fromkeys(
            ("alias", "detach", "contiguous", "clone", "dropout", "feature_dropout",
             "alpha_dropout", "native_dropout", "lift_fresh_copy", "lift_fresh", "positive",
             "alias_copy", "detach_copy", "resolve_conj"),
            partial(_plain, op="identity"),
        ),
    }  # fmt: skip
    return {**plain, **pairs, **moves, **turns, **others, **PRODUCTS}


RULES: dict[str, Rule] = _rules()
"""Name of an aten operator, without overload and without the underscore of one that works in
place, -> its rule. An ``identity`` is no layer: what reads it reads its source."""

SHAPE_ONLY = frozenset(
    ("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros",
     "new_ones", "new_full", "new_empty", "sym_size", "sym_numel", "size", "numel", "arange")
)  # fmt: skip
"""Operators whose tensors are constants: they read a tensor's shape alone, if any."""

VIEWS = frozenset(
    (*_moves(), *_turns(), "select", "split", "split_with_sizes", "chunk", "tensor_split",
     "unbind", "alias", "detach")
)  # fmt: skip
"""Operators that give a part of their input, or all of it, in the same memory: what is written
into it is written into the input."""
