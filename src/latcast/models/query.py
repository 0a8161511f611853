"""Queries of targets, and the predictors that answer them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from latcast._files import STDIN
from latcast.devices import Target, public_runtime
from latcast.graph.read import is_network

from ._base import Predictor
from ._model import Model
from .zoo import UnresolvedError

if TYPE_CHECKING:
    from .base_model import BaseModel

Basis = Literal["measurements", "specification"]


@dataclass(frozen=True)
class TargetQuery:
    """The parts of a target besides its device that are asked for; None where nothing is said.

    Attributes:
        runtime: such as ``onnxruntime``, by any of its names.
        batch: samples a forward pass.
        precision: such as ``fp16``.
        threads: of the CPU.
    """

    runtime: str | None = None
    batch: int | None = None
    precision: str | None = None
    threads: int | None = None

    def parts(self) -> dict[str, Any]:
        """Return the parts that are asked for, by the name of the field of a target."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def fits(self, target: Target) -> bool:
        """Whether a target is as asked for; a runtime may have another of its names."""
        parts = self.parts()
        if "runtime" in parts and public_runtime(parts["runtime"]) == public_runtime(
            target.runtime
        ):
            del parts["runtime"]
        return all(getattr(target, name) == value for name, value in parts.items())

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.parts().items())

    @classmethod
    def named(cls, name: str, query: TargetQuery) -> tuple[str, TargetQuery]:
        """A device, and all that is asked, from a name that may be a whole target.

        Raises:
            ValueError: the name has a slash and is no target, or says other than ``query``.
        """
        if name == STDIN:
            raise UnresolvedError(
                "a shipped model, a .latcast file, a device or a target must be named; got -: "
                "standard input can be the network or the data, but no model"
            )
        if is_network(name):
            raise UnresolvedError(
                f"a model, a device or a target must be named; got {name}, a network, which is "
                f"what they forecast: latcast predict {name} --device NAME"
            )
        if "/" not in name:
            return name, query
        try:
            target = Target.parse(name)
        except ValueError as error:
            raise UnresolvedError(str(error)) from None
        own = cls(target.runtime, target.batch, target.precision, target.threads or None)
        if not query.fits(target):
            raise UnresolvedError(f"{name} is a target, which is not of {query}: leave that out")
        return target.device, replace(own, **query.parts())


@dataclass(frozen=True)
class Resolved:
    """A predictor for what was asked.

    Attributes:
        name: as it was asked for; that of the shipped model where several answer.
        predictor: of exactly the target that was asked for, as far as one was.
        basis: what it was made from.
        notes: sentences about where it comes from.
        is_named: whether the model itself was asked for, by its file or by a name that is no
            device's: then it answers for what it is given, whatever it was learnt from.
    """

    name: str
    predictor: Predictor
    basis: Basis = "measurements"
    notes: list[str] = field(default_factory=list)
    is_named: bool = False

    @property
    def of_space(self) -> Predictor:
        """The predictor, of architectures."""
        assert not self.predictor.is_of_any_network
        return self.predictor


def is_base_model(model: object) -> TypeGuard[BaseModel]:
    """Whether a model is of many targets, told by its kind: few commands load that module."""
    return isinstance(model, Model) and model.kind == "base"


def is_base(name: str) -> str:
    """Return the message that a name stands for no single target, with the remedy."""
    return (
        f"{name} is a base model of many targets: adapt it to one (latcast adapt {name} DATA), or "
        f"predict a device by its specification (latcast predict --model {name})"
    )
