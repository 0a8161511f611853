"""Language models as graphs, from the configuration files of Hugging Face's transformers.

They are written as PyTorch's modules run them without a compiler, an operator each: products of
matrices, scores, scale, mask, softmax (transformers before version 4.40, as NeuSight timed them).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latcast.graph import GRAPH_INPUT, Constant, Constants, Graph, GraphBuilder, Tensor

Config = Mapping[str, Any]


def language_model(path: Path, sequence: int, batch: int) -> Graph:
    """The forward pass of a model on ``batch`` sequences of so many tokens.

    Args:
        path: its ``config.json``: of GPT-2, BERT or OPT.
        sequence: tokens of a sequence.
        batch: sequences.

    Raises:
        ValueError: it is of another model, or lacks a number.
        FileNotFoundError: there is no such file.
    """
    config: Config = json.loads(path.read_text(encoding="utf-8"))
    kind = str(config.get("model_type"))
    if kind not in _BUILDERS:
        raise ValueError(f"{path} must be of {', '.join(_BUILDERS)}; it is of {kind}")
    b = GraphBuilder(batch, path.stem)
    try:
        return b.build(_BUILDERS[kind](b, config, sequence))
    except KeyError as error:
        raise ValueError(f"{path} must state {error}; it does not") from None


def linear(b: GraphBuilder, x: Tensor, features: int, *, bias: bool = True) -> Tensor:
    """PyTorch's linear layer, whose bias is part of one call."""
    fan_in = x.shape[-1]
    read = (Constant(1, (features, fan_in)), *[Constant(2, (features,))] * bias)
    return b.layer(
        "linear", "Gemm", (x,), (*x.shape[:-1], features), sum_length=fan_in,
        constants=Constants.of(*read),
    )  # fmt: skip


def _embedding(b: GraphBuilder, tokens: int, width: int) -> Tensor:
    """Rows of a table of words, one a token; those that no token asks for are not read."""
    ids = Tensor(GRAPH_INPUT, (b.batch, tokens))
    return b.layer("gather", "Gather", (ids,), (b.batch, tokens, width))


def _attention(
    b: GraphBuilder,
    x: Tensor,
    heads: int,
    finish: Callable[[GraphBuilder, Tensor], Tensor],
    *,
    joint: bool = False,
    scales_query: bool = False,
) -> Tensor:
    """Self-attention with scores, scale, mask and softmax as operators of their own.

    Args:
        b: the builder.
        x: tokens.
        heads: of attention.
        finish: masks the scores.
        joint: whether queries, keys and values are one product.
        scales_query: whether queries are divided, and not the scores.
    """
    batch, tokens, width = x.shape
    side = width // heads
    if joint:
        parts = b.split(linear(b, x, 3 * width), [width] * 3, axis=2)
    else:
        parts = [linear(b, x, width) for _ in range(3)]
    if scales_query:
        parts[0] = b.mul(parts[0], side**-0.5)
    query, key, value = (
        b.transpose(b.reshape(part, batch, tokens, heads, side), 0, 2, 1, 3) for part in parts
    )
    scores = b.matmul(query, b.transpose(key, 0, 1, 3, 2))
    if not scales_query:
        scores = b.binary("Div", scores, side**0.5)
    shares = b.softmax(finish(b, scores))
    mixed = b.transpose(b.matmul(shares, value), 0, 2, 1, 3)
    return linear(b, b.reshape(mixed, batch, tokens, width), width)


def _causal(b: GraphBuilder, scores: Tensor) -> Tensor:
    return b.layer("where", "Where", (scores,), scores.shape)


def _masked(b: GraphBuilder, scores: Tensor) -> Tensor:
    return b.add(scores, Constant(1, (1, 1, *scores.shape[2:])))


def _masked_and_clipped(b: GraphBuilder, scores: Tensor) -> Tensor:
    return b.binary("Max", _masked(b, scores), -3.4e38)


def _new_gelu(b: GraphBuilder, x: Tensor) -> Tensor:
    """``0.5 x (1 + tanh(0.8 (x + 0.045 x^3)))``, an operator at a time."""
    inner = b.mul(b.add(x, b.mul(b.binary("Pow", x, 3.0), 0.044715)), 0.7978845608)
    return b.mul(b.mul(x, 0.5), b.add(b.unary("Tanh", inner), 1.0))


def _gpt2(b: GraphBuilder, config: Config, tokens: int) -> Tensor:
    width, heads = config["n_embd"], config["n_head"]
    x = _embedding(b, tokens, width)
    x = b.add(x, Constant(1, (1, tokens, width)))
    for _ in range(config["n_layer"]):
        x = b.add(x, _attention(b, b.layer_norm(x), heads, _causal, joint=True))
        hidden = linear(b, b.layer_norm(x), config.get("n_inner") or 4 * width)
        x = b.add(x, linear(b, _new_gelu(b, hidden), width))
    return linear(b, b.layer_norm(x), config["vocab_size"], bias=False)


def _opt(b: GraphBuilder, config: Config, tokens: int) -> Tensor:
    width, heads = config["hidden_size"], config["num_attention_heads"]
    x = _embedding(b, tokens, width)
    x = b.add(x, Constant(1, (1, tokens, width)))
    for _ in range(config["num_hidden_layers"]):
        y = b.layer_norm(x)
        x = b.add(x, _attention(b, y, heads, _masked_and_clipped, scales_query=True))
        hidden = b.activation(linear(b, b.layer_norm(x), config["ffn_dim"]), "relu")
        x = b.add(x, linear(b, hidden, width))
    return linear(b, b.layer_norm(x), config["vocab_size"], bias=False)


def _bert(b: GraphBuilder, config: Config, tokens: int) -> Tensor:
    width, heads = config["hidden_size"], config["num_attention_heads"]
    x = _embedding(b, tokens, width)
    for _ in range(2):  # of positions and of segments
        x = b.add(x, Constant(1, (1, tokens, width)))
    x = b.layer_norm(x)
    for _ in range(config["num_hidden_layers"]):
        x = b.layer_norm(b.add(_attention(b, x, heads, _masked), x))
        hidden = b.activation(linear(b, x, config["intermediate_size"]), "gelu")
        x = b.layer_norm(b.add(linear(b, hidden, width), x))
    x = b.layer_norm(b.activation(linear(b, x, width), "gelu"))
    return linear(b, x, config["vocab_size"])


_BUILDERS: Mapping[str, Callable[[GraphBuilder, Config, int], Tensor]] = {
    "gpt2": _gpt2,
    "opt": _opt,
    "bert": _bert,
}
