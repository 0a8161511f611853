"""Common parts of all models: fitting, keeping in a file, and making anew from one.

Models are :class:`latcast.models.Predictor` (of one target, or of a quantity that has none) and
:class:`latcast.models.BaseModel` (of many targets, of which one has to be chosen).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, final

import numpy as np
import numpy.typing as npt

from latcast._model_file import ModelFile, Schema, restored, write_model
from latcast._registry import Registry
from latcast.data import LATENCY_MS, Dataset, Quantity
from latcast.data import quantity as find_quantity
from latcast.devices import Target
from latcast.math.conformal import Calibration
from latcast.spaces import SearchSpace, space

from ._fitted import Fitted
from .hub import local_file

State = dict[str, Any]
M = TypeVar("M", bound="Model")

# Fewer cannot be split into rows to fit and rows to calibrate on.
MIN_ROWS = 10


class Model(ABC):
    """A model that is fitted to datasets, states its target or subject, and is kept in a file.

    A kind writes the hooks below. Its file holds what every model has (kind, options, space,
    target, quantity, gene values that were seen, card, calibration) and what the kind's schema
    declares; it is read by the kind's name in :data:`KINDS`.
    """

    kind: ClassVar[str]
    description: ClassVar[str]

    array_prefix: ClassVar[str] = "state."
    """Of the names of the kind's own arrays in a file."""

    is_of_one_target: ClassVar[bool] = True
    """Whether it is for one target, where its quantity depends on any."""

    def __init__(self) -> None:
        self._fitted: Fitted | None = None

    def __repr__(self) -> str:
        """Its kind, what it predicts, of what and where."""
        fitted = self._fitted
        if fitted is None:
            return f"<{type(self).__name__}, not fitted>"
        of = "any network" if fitted.space is None else fitted.space.name
        on = "" if fitted.target is None else f" on {fitted.target}"
        return f"<{type(self).__name__}: {fitted.quantity.name} of {of}{on}>"

    @abstractmethod
    def adapt(self, few: Dataset, *, method: str = "bayes", seed: int = 0) -> Model:
        """A predictor for the target of a few measurements, made from this model, which stays.

        Raises:
            ValueError: no measurement, one that is not possible, or an unknown method.
        """

    @abstractmethod
    def _state(self) -> State:
        """Return the state from which :meth:`_restore` rebuilds the model, by the schema's names.

        Raises:
            ValueError: it cannot be kept in a file.
        """

    @abstractmethod
    def _restore(self, state: State, parts: Mapping[str, Any]) -> None:
        """The inverse of :meth:`_state` and :meth:`_parts`; :attr:`fitted` is known.

        Raises:
            KeyError, ValueError: something is missing or does not fit.
        """

    def _parts(self) -> Mapping[str, Model]:
        """Fitted models that this one is made of, by name; they are saved with it."""
        return {}

    def _schema(self) -> Schema | None:
        """Return the schema of the kind's own fields in its file, beside those of every model.

        Without one :meth:`_state` is kept as it is, and :meth:`_restore` has to make sure that it
        makes sense.
        """
        return None

    def _sizes(self) -> dict[str, int]:
        """Sizes that the schema's shapes name and that are known before the state is."""
        return {}

    def options(self) -> dict[str, Any]:
        """The arguments with which the model was created (JSON-able)."""
        return {}

    @property
    def fitted(self) -> Fitted:
        """Space, target, calibration and card.

        Raises:
            RuntimeError: the model is not fitted.
        """
        if self._fitted is None:
            raise RuntimeError(f"{type(self).__name__} must be fitted first: call fit(data)")
        return self._fitted

    @property
    def space(self) -> SearchSpace:
        """The search space whose block table is used.

        Raises:
            ValueError: networks of any kind are predicted.
        """
        if self.fitted.space is None:
            raise ValueError(
                f"this needs a predictor of one search space; {self.kind!r} is for networks of "
                "any kind"
            )
        return self.fitted.space

    @property
    def quantity(self) -> Quantity:
        """The quantity that is predicted, in whose unit predictions are."""
        return self.fitted.quantity

    @property
    def card(self) -> dict[str, Any]:
        """Data provenance, licence, metrics: anything JSON can hold."""
        return self.fitted.card

    @final
    def become(self, fitted: Fitted) -> None:
        """State what the model is for, where it was not made by fitting."""
        self._fitted = fitted

    @final
    def save(self, path: str | Path) -> None:
        """Write a model file (safetensors with a JSON header), atomically.

        Raises:
            RuntimeError: the model is not fitted.
            ValueError: it cannot be kept in a file.
        """
        header, tensors = _contents(self)
        write_model(path, ModelFile(header, tensors))

    @final
    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model of this kind; :func:`latcast.load` reads those of all kinds.

        Raises:
            ValueError: the file is damaged, of a newer schema version, or of another kind.
            FileNotFoundError: there is no such file.
        """

        def build(file: ModelFile) -> Model:
            model = _rebuilt(file)
            if not isinstance(model, cls):
                raise ValueError(f"a model of the kind {model.kind!r}")
            return model

        model = restored(path, f"a latcast {cls.__name__}", build)
        assert isinstance(model, cls)
        return model


def check_few(few: Dataset, of: Quantity) -> None:
    """Make sure that measurements can be adapted to.

    Raises:
        ValueError: none, one that is not possible, or values of another quantity.
    """
    few.check_values()
    few.check_quantity(of)
    if not len(few):
        raise ValueError("adapting needs at least one measurement; got none")


# --- kinds ------------------------------------------------------------------------------------

# All kinds by name, a user's own among them; one is loaded when it is asked for.
KINDS: Registry[type[Model]] = Registry(
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
        "base": "latcast.models.base_model:BaseModel",
        "joint": "latcast.models.joint._file:Joint",
        "joint-target": "latcast.models.joint._predictor:JointPredictor",
        "joint-space": "latcast.models.joint._space:JointSpacePredictor",
        "accuracy-gaussian-process": "latcast.models.accuracy.gaussian_process:GaussianProcess",
        "accuracy-distilled": "latcast.models.accuracy.distilled:DistilledOFA",
        "accuracy-table": "latcast.models.accuracy.sources:TableAccuracy",
        "accuracy-ensemble": "latcast.models.accuracy.sources:EnsembleAccuracy",
    },
)

# Kind in the header of files as they once were -> where the function is that gives the contents
# as they would be written today, as ``module:function``.
EARLIER: Mapping[str, str] = {"accuracy": "latcast.models.accuracy._base:of_today"}


def register_predictor(kind: type[M]) -> type[M]:
    """Make a kind of predictor known by its ``kind``, to model files as well; a decorator.

    An installed package does the same by an entry point of the group ``latcast.predictors``.

    Raises:
        ValueError: the name is that of one of latcast's own.
    """
    KINDS.register(kind.kind, kind)
    return kind


# --- files ------------------------------------------------------------------------------------


def open_model(path: str | Path) -> Any:
    """The model of a file, of whichever kind; one on the Hugging Face Hub is downloaded.

    Raises:
        ValueError: it is damaged, or of a kind that is not known.
        FileNotFoundError: there is no such file.
    """
    return restored(local_file(path), "a latcast model of a kind known here", _rebuilt)


def _contents(model: Model) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Header and arrays of a fitted model and, with prefixed names, of its parts."""
    f, prefix = model.fitted, model.array_prefix
    header: dict[str, Any] = {"kind": model.kind, "options": model.options(), "card": f.card}
    if f.target is not None:
        header["target"] = str(f.target)
    if f.quantity != LATENCY_MS:
        header["quantity"] = f.quantity.name
    tensors: dict[str, npt.NDArray[Any]] = {}
    if f.space is not None:
        header["space"] = f.space.name
    if f.space is not None or f.seen:
        header["seen"] = f.seen
    if isinstance(f.calibration, Calibration):
        header["calibration_exponent"] = f.calibration.exponent
        header["equal_tailed"] = f.calibration.equal_tailed
        header["in_deviations"] = f.calibration.in_deviations
        tensors["calibration.scores"] = f.calibration.scores
    state = model._state()
    schema = model._schema()
    if schema is None:
        own = ModelFile({}, {f"{prefix}{name}": value for name, value in state.items()})
    else:
        own = schema.pack(state, prefix, **model._sizes())
    header, tensors = own.header | header, own.tensors | tensors
    parts = {}
    for name, part in model._parts().items():
        parts[name], arrays = _contents(part)
        tensors |= {f"part.{name}.{k}": v for k, v in arrays.items()}
    return header | ({"parts": parts} if parts else {}), tensors


def _rebuilt(file: ModelFile) -> Model:
    """The model that :meth:`Model.save` wrote.

    Raises:
        KeyError, TypeError, ValueError and others: it makes no sense.
    """
    if (earlier := EARLIER.get(file.header["kind"])) is not None:
        module, _, name = earlier.partition(":")
        file = getattr(import_module(module), name)(file)
    header, tensors = file.header, file.tensors
    model = KINDS.get(header["kind"])(**header.get("options", {}))
    fitted = _fitted(header, tensors)
    if model.is_of_one_target and fitted.quantity.of_target:
        fitted.target = Target.parse(header["target"])
    model.become(fitted)
    parts = {
        name: _rebuilt(ModelFile(part, _under(f"part.{name}.", tensors)))
        for name, part in dict(header.get("parts", {})).items()
    }
    schema = model._schema()
    if schema is None:
        state: State = _under(model.array_prefix, tensors)
    else:
        state = schema.unpack(file, model.array_prefix, **model._sizes())
    model._restore(state, parts)
    return model


def _fitted(header: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> Fitted:
    fitted = Fitted(
        space(header["space"]) if "space" in header else None,
        seen={str(k): [int(v) for v in values] for k, values in header.get("seen", {}).items()},
        card=dict(header["card"]),
        quantity=find_quantity(header.get("quantity", LATENCY_MS)),
    )
    exponent = header.get("calibration_exponent")
    if exponent is not None:
        scores = np.array(tensors["calibration.scores"], dtype=np.float64)
        flags = (header.get(name, False) is True for name in ("equal_tailed", "in_deviations"))
        fitted.calibration = Calibration(scores, float(exponent), *flags)
    return fitted


def _under(prefix: str, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
