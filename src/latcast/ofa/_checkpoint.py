"""Checkpoint files of Once-For-All: read without running code, checked name by name.

This module imports PyTorch; import it where PyTorch is wanted.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from latcast._files import check_archive
from latcast._names import short_repr

# Tensors by their plain names (plain).
State = dict[str, Tensor]

# End of the names of training's batch counters, which inference does not need; some files leave
# them out.
_COUNTER = ".num_batches_tracked"

_VARIANCE = ".running_var"


def read_checkpoint(path: Path) -> State:
    """Tensors of a checkpoint file, in single precision.

    Args:
        path: a state dict, or a dict that holds one as ``state_dict``, as ``torch.save`` writes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none that ``torch.load(weights_only=True)`` reads, holds no state dict, or
            one of tensors that no network can have.
    """
    check_archive(path)
    content = _load(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{path} must hold a state dict; got {short_repr(state)}")
    result: State = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{path} must hold a state dict, tensors by their names; "
                f"got {type(value).__name__} as {short_repr(name)}"
            )
        if plain(name) in result:
            raise ValueError(
                f"{path} must hold every tensor once; it has {plain(name)!r} under two names, "
                f"{short_repr(name)} is one of them"
            )
        result[plain(name)] = _checked(value.detach(), f"{path}: {name}")
    return result


def _checked(tensor: Tensor, what: str) -> Tensor:
    """A tensor in single precision, or a counter.

    Raises:
        ValueError: it is not dense or not real, or has values that no network can have.
    """
    dense = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    counts = what.endswith(_COUNTER) and not tensor.is_complex()
    if not dense or not (tensor.is_floating_point() or counts):
        kind = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        raise ValueError(
            f"{what} must be a dense tensor of real numbers; got {tensor.dtype}, "
            f"{tensor.device.type if tensor.is_meta else kind}"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{what} must hold each of its {tensor.numel()} numbers; it repeats some")
    if counts:
        return tensor
    tensor = tensor.float()
    # In one pass: isfinite() takes three quarters of the time in which a supernet's file is read.
    low, high = map(float, tensor.aminmax()) if tensor.numel() else (0.0, 0.0)
    if not (isfinite(low) and isfinite(high)):
        raise ValueError(f"{what} must be finite; got NaN or infinite values: get the file anew")
    if what.endswith(_VARIANCE) and low < 0:
        raise ValueError(f"{what} must be at least 0; got {low:g}")
    return tensor


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that fail all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken files make the reader raise anything
        # The message of a refusal is advice to run the file's code; its reason lies below.
        reason = str(error.__context__ or error).strip() or type(error).__name__
        reason = reason.splitlines()[0].split(". ")[0]
        raise ValueError(
            f"{path} must be a complete file of tensors that torch.save wrote, and is read without "
            f"running code; got: {reason[:160]}; get it anew, or, where it holds more than tensors "
            "and you trust it, save its state dict alone"
        ) from error


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> State:
    """The tensors of ``expected`` out of ``state``, which must hold exactly those.

    Args:
        state: tensors by their plain names.
        expected: what a module's ``state_dict()`` holds; its shapes count, and it may be on the
            device ``meta``.
        what: the checkpoint and what it must be one of, for messages.

    Raises:
        ValueError: a tensor is missing, has another shape, or belongs to another network.
    """
    wanted = {plain(name): tensor for name, tensor in expected.items()}
    missing = [n for n in wanted if n not in state and not n.endswith(_COUNTER)]
    if missing:
        raise ValueError(f"{what}; it lacks {_some(missing)}")
    for name, tensor in wanted.items():
        got = state.get(name, tensor)
        if got.shape != tensor.shape:
            raise ValueError(
                f"{what}, with {name} of shape {tuple(tensor.shape)}; got {tuple(got.shape)}: "
                "another width, or another number of classes"
            )
    if unknown := [n for n in state if n not in wanted]:
        raise ValueError(f"{what}; it also holds {_some(unknown)}, which that has not")
    # Counters alone may be missing.
    return {name: state.get(name, torch.zeros((), dtype=torch.long)) for name in wanted}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


# -- names, which versions of Once-For-All write differently ---------------------------------------

Value = TypeVar("Value")

_REWRITES = (
    (re.compile(r"^module\."), ""),  # of a network that was trained on several GPUs
    (re.compile(r"^(blocks\.\d+)\.conv\."), r"\1.mobile_inverted_conv."),
    # The stem's residual calls its layer "conv", which has a "conv".
    (re.compile(r"(?<!^input_stem\.1)\.(conv|bn|linear)\.\1\."), r".\1."),
)


def plain(name: str) -> str:
    """The name as one architecture's own file has it: elastic layers are one level less deep."""
    for pattern, replacement in _REWRITES:
        name = pattern.sub(replacement, name)
    return name


def matched(state: Mapping[str, Value], names: Iterable[str]) -> dict[str, Value]:
    """``state`` under those of ``names`` that mean the same; other names stay as they are."""
    known = {plain(name): name for name in names}
    return {known.get(plain(key), key): value for key, value in state.items()}
