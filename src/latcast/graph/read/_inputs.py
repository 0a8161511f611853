"""Shapes that are asked for: they must fit the inputs of the network, and close all open sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Side = int | str | None
"""Side of a shape in a file: a number, a symbol or an expression, or None where it is left out."""


def check_asked(
    inputs: Mapping[str, Sequence[Side] | None],
    asked: Mapping[str, Sequence[int]],
    batch: int | None,
) -> None:
    """Make sure that shapes and a batch could be those of the inputs.

    Raises:
        ValueError: an input is not there, or a shape has other axes, no positive sides, or another
            batch.
    """
    if batch is not None and not 0 < batch < 2**31:
        raise ValueError(f"the batch must be positive; got {batch}")
    for name, shape in asked.items():
        if name not in inputs:
            known = ", ".join(inputs) or "none"
            raise ValueError(f"a shape was given for {name!r}; inputs of the model: {known}")
        if any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in shape):
            raise ValueError(f"sides of input {name!r} must be positive; got {list(shape)}")
        if batch is not None and shape and shape[0] != batch:
            raise ValueError(
                f"the shape of input {name!r} must start with the batch {batch}; got {list(shape)}"
            )
        sides = inputs[name]
        if sides is not None and len(sides) != len(shape):
            raise ValueError(
                f"the shape of input {name!r} must have {len(sides)} sides; got {list(shape)}"
            )


def left_open(name: str, sides: Sequence[Side] | None, told: str) -> ValueError:
    """The error of an input with open sides; ``told`` is how its shape reads."""
    known = [isinstance(s, int) and s > 0 for s in sides or ()]
    example = "x".join(str(s) if k else "224" for s, k in zip(sides or (), known, strict=True))
    return ValueError(
        f"all sides of input {name!r} must be known; the file tells {told}: "
        f"give them (--shape {name}={example or '1x3x224x224'})"
    )
