"""Language models as graphs, from the configuration files of Hugging Face's transformers.

They are written as PyTorch's modules run them without a compiler, an operator each: products of
matrices, scores, scale, mask, softmax (transformers before version 4.40, as NeuSight timed them).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latcast.graph import GRAPH_INPUT, Constant, Graph, GraphBuilder, Tensor

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


def _embedding(b: GraphBuilder, tokens: int, words: int, width: int) -> Tensor:
    """Rows of a table of words, one a token: what is read is as much as what is written."""
    ids = Tensor(GRAPH_INPUT, (b.batch, tokens))
    del words  # rows that no token asks for are not read
    return b.layer("gather", "Gather", (ids,), (b.batch, tokens, width))


def _attention(b: GraphBuilder, x: Tensor, heads: int, *, joint: bool, causal: bool) -> Tensor:
    """Self-attention with scores, scale, mask and softmax as operators of their own."""
    batch, tokens, width = x.shape
    side = width // heads
    if joint:
        parts = b.split(b.linear(x, 3 * width), [width] * 3, axis=2)
    else:
        parts = [b.linear(x, width) for _ in range(3)]
    query, key, value = (
        b.transpose(b.reshape(part, batch, tokens, heads, side), 0, 2, 1, 3) for part in parts
    )
    scores = b.matmul(query, b.transpose(key, 0, 1, 3, 2))
    scores = b.binary("Div", scores, side**0.5)
    mask = Constant(1, (1, 1, tokens, tokens))
    if causal:
        scores = b.layer("where", "Where", (scores,), scores.shape)
    scores = b.add(scores, mask)
    mixed = b.transpose(b.matmul(b.softmax(scores), value), 0, 2, 1, 3)
    return b.linear(b.reshape(mixed, batch, tokens, width), width)


def _new_gelu(b: GraphBuilder, x: Tensor) -> Tensor:
    """``0.5 x (1 + tanh(0.8 (x + 0.045 x^3)))``, an operator at a time."""
    inner = b.mul(b.add(x, b.mul(b.binary("Pow", x, 3.0), 0.044715)), 0.7978845608)
    return b.mul(b.mul(x, 0.5), b.add(b.unary("Tanh", inner), 1.0))


def _gpt2(b: GraphBuilder, config: Config, tokens: int) -> Tensor:
    width, heads = config["n_embd"], config["n_head"]
    x = _embedding(b, tokens, config["vocab_size"], width)
    x = b.add(x, Constant(1, (1, tokens, width)))
    for _ in range(config["n_layer"]):
        x = b.add(x, _attention(b, b.layer_norm(x), heads, joint=True, causal=True))
        hidden = b.linear(b.layer_norm(x), config.get("n_inner") or 4 * width)
        x = b.add(x, b.linear(_new_gelu(b, hidden), width))
    return b.linear(b.layer_norm(x), config["vocab_size"], bias=False)


def _opt(b: GraphBuilder, config: Config, tokens: int) -> Tensor:
    width, heads = config["hidden_size"], config["num_attention_heads"]
    x = _embedding(b, tokens, config["vocab_size"], config.get("word_embed_proj_dim", width))
    x = b.add(x, Constant(1, (1, tokens, width)))
    for _ in range(config["num_hidden_layers"]):
        x = b.add(x, _attention(b, b.layer_norm(x), heads, joint=False, causal=False))
        hidden = b.activation(b.linear(b.layer_norm(x), config["ffn_dim"]), "relu")
        x = b.add(x, b.linear(hidden, width))
    return b.linear(b.layer_norm(x), config["vocab_size"], bias=False)


def _bert(b: GraphBuilder, config: Config, tokens: int) -> Tensor:
    width, heads = config["hidden_size"], config["num_attention_heads"]
    x = _embedding(b, tokens, config["vocab_size"], width)
    for _ in range(2):  # of positions and of segments
        x = b.add(x, Constant(1, (1, tokens, width)))
    x = b.layer_norm(x)
    for _ in range(config["num_hidden_layers"]):
        x = b.layer_norm(b.add(_attention(b, x, heads, joint=False, causal=False), x))
        hidden = b.activation(b.linear(x, config["intermediate_size"]), "gelu")
        x = b.layer_norm(b.add(b.linear(hidden, width), x))
    x = b.layer_norm(b.activation(b.linear(x, width), "gelu"))
    return b.linear(x, config["vocab_size"])


_BUILDERS: Mapping[str, Callable[[GraphBuilder, Config, int], Tensor]] = {
    "gpt2": _gpt2,
    "opt": _opt,
    "bert": _bert,
}
