"""Language models by their configurations, as NeuSight measured them: PyTorch, forward, all tokens.

Attention is written out, as it was in the versions of transformers of 2023. Of a mixture of experts
each gets an equal share of the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _recorded import recorded

from latcast.graph import Graph

TOKENS = (128, 256, 512, 1024, 2048)


def wanted(data: Path | None) -> dict[str, Callable[[], dict[str, Graph]]]:
    """Name of a model at a length of its text -> what gives its graph."""
    files = sorted((data / "neusight" / "configs").glob("*.json")) if data else []
    return {
        f"neusight:{file.stem}@{tokens}": lambda file=file, tokens=tokens: _graph(file, tokens)  # type: ignore[misc]
        for file in files
        for tokens in TOKENS
        if tokens <= _longest(file)
    }


def _longest(file: Path) -> int:
    """Tokens of a text that a model has places for."""
    told = json.loads(file.read_text(encoding="utf-8"))
    return int(told.get("max_position_embeddings", told.get("n_positions", TOKENS[-1])))


def _graph(file: Path, tokens: int) -> dict[str, Graph]:
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(file, local_files_only=True)
    config.use_cache = False
    kind = getattr(transformers, config.architectures[0])
    with torch.device("meta"):
        module = kind._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
        text = torch.zeros((1, tokens), dtype=torch.long)
    inputs: dict[str, Any] = {"input_ids": text}
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = text
    with recording_transformers():
        graph = recorded(module, inputs, file.stem)
    return {f"neusight:{file.stem}@{tokens}": graph}


@contextmanager
def recording_transformers() -> Iterator[None]:
    """Transformers look at no values of masks and routes, of which the meta device has none."""
    from transformers import masking_utils
    from transformers.models.switch_transformers import modeling_switch_transformers as switch

    kept = masking_utils.is_tracing, switch.SwitchTransformersExperts.forward
    masking_utils.is_tracing = lambda *_: True
    switch.SwitchTransformersExperts.forward = _balanced
    try:
        yield
    finally:
        masking_utils.is_tracing, switch.SwitchTransformersExperts.forward = kept


def _balanced(experts: Any, tokens: Any, _selected: Any, weights: Any) -> Any:
    """What experts make of equal shares of the tokens (shape (tokens, features)), and sum up."""
    import torch

    total = torch.zeros_like(tokens)
    for expert, places in zip(
        experts.values(), torch.arange(len(tokens), device="meta").chunk(len(experts)), strict=True
    ):
        total.index_add_(0, places, expert(tokens[places]) * weights[places])
    return total
