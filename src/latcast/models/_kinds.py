"""The kinds of predictors by name, ours and a user's own; and the model of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from latcast._model_file import ModelFile, read_header, restored
from latcast._registry import Registry
from latcast.data import LATENCY_MS, quantity
from latcast.devices import Target
from latcast.math.conformal import Calibration
from latcast.spaces import space

from ._base import Predictor, State
from ._fitted import Fitted

if TYPE_CHECKING:
    from .base_model import BaseModel

ACCURACY, BASE = "accuracy", "base"
P = TypeVar("P", bound=type[Predictor])

KINDS: Registry[type[Predictor]] = Registry(
    "predictor",
    "latcast.predictors",
    type,
    {
        "roofline": "latcast.models.roofline:Roofline",
        "bayes": "latcast.models.bayes:Bayes",
        "lookup-table": "latcast.models.lookup_table:LookupTable",
        "mlp": "latcast.models.mlp:MLP",
        "flops": "latcast.models.flops:Flops",
        "layers": "latcast.models.kernels:Kernels",
    },
)
"""All kinds, a user's own among them."""


def predictor(kind: str) -> Predictor:
    """A new predictor of a kind, with its default options.

    Raises:
        ValueError: there is no such kind.
    """
    return KINDS.get(kind)()


def register_predictor(kind: P) -> P:
    """Make a kind of predictor known by its ``kind``, to model files as well; a decorator.

    An installed package does the same by an entry point of the group ``latcast.predictors``.

    Raises:
        ValueError: the name is that of one of latcast's own.
    """
    KINDS.register(kind.kind, kind)
    return kind


# --- files ------------------------------------------------------------------------------------


def open_model(path: str | Path) -> Any:
    """The model of a file, of whichever kind.

    Raises:
        ValueError: it is damaged, or of a kind that is not known.
        FileNotFoundError: there is no such file.
    """
    if read_header(path).get("kind") == ACCURACY:
        from .accuracy import load_accuracy

        return load_accuracy(path)
    return restored(path, "a latcast model of a kind known here", _of_contents)


def _of_contents(file: ModelFile) -> Predictor | BaseModel:
    if file.header["kind"] != BASE:
        return _rebuilt(file)
    from .base_model import BaseModel

    return BaseModel.of_file(file)


def _rebuilt(file: ModelFile) -> Predictor:
    """The predictor that :meth:`Predictor.save` wrote.

    Raises:
        KeyError, TypeError, ValueError and others: it makes no sense.
    """
    header, tensors = file.header, file.tensors
    predictor = KINDS.get(header["kind"])(**header.get("options", {}))
    fitted = Fitted(
        space(header["space"]) if "space" in header else None,
        Target.parse(header["target"]),
        {str(k): [int(v) for v in values] for k, values in header.get("seen", {}).items()},
        card=dict(header["card"]),
        quantity=quantity(header.get("quantity", LATENCY_MS)),
    )
    exponent = header.get("calibration_exponent")
    if exponent is not None:
        scores = np.array(tensors["calibration.scores"], dtype=np.float64)
        equal_tailed = header.get("equal_tailed", False) is True
        fitted.calibration = Calibration(scores, float(exponent), equal_tailed)
    predictor.become(fitted)
    parts = {
        name: _rebuilt(ModelFile(part, _under(f"part.{name}.", tensors)))
        for name, part in dict(header.get("parts", {})).items()
    }
    schema = predictor._schema()
    if schema is None:
        state: State = _under(predictor.array_prefix, tensors)
    else:
        state = schema.unpack(file, predictor.array_prefix, **predictor._sizes())
    predictor._restore(state, parts)
    return predictor


def _under(prefix: str, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
