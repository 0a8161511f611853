"""Predictors of devices that have a model, or nothing but a specification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._common import UsageError, load_any, load_model, note, usage

if TYPE_CHECKING:
    from latcast.models import BaseModel, Predictor
    from latcast.spaces import SearchSpace

DEFAULT_SPACE = "ofa-mobilenet-v3"


@dataclass(frozen=True)
class Wish:
    """What the user asks for besides the names of devices.

    Attributes:
        model: base model; the shipped one of the space by default.
        batch: samples a forward pass, where there is no model of the device's own.
        precision: likewise.
        runtime: likewise; that of the most similar known target by default.
        space: of the architectures, or None.
    """

    model: str | None
    batch: int
    precision: str
    runtime: str | None
    space: SearchSpace | None

    @property
    def _insists(self) -> bool:
        """Whether the user asks for what only a specification can answer."""
        settings = (self.batch, self.precision, self.runtime)
        return self.model is not None or settings != (1, "fp32", None)

    def predictor(self, name: str, *, quiet: bool) -> Predictor:
        """The device's own model; by its specification if there is none, or the user insists."""
        from latcast._names import unknown_name
        from latcast.devices import devices
        from latcast.models import zoo

        of_its_own = (
            name.endswith(".latcast")
            or name in (*zoo.names(), *zoo.base_names())
            or bool(zoo.of_device(name))
        )
        if of_its_own and not (self._insists and name in devices()):
            predictor = load_model(name)
            if self._insists:
                note(
                    f"note: {name} is a model of {predictor.target}: --model, --batch, --precision "
                    "and --runtime are for devices by their specification",
                    quiet=quiet,
                )
            return predictor
        if name not in devices():
            known = [*zoo.names(), *(d for d in devices() if d not in zoo.names())]
            raise UsageError(unknown_name("model or device", name, known))
        return self._by_specification(name, quiet=quiet)

    def _by_specification(self, name: str, *, quiet: bool) -> Predictor:
        from latcast.devices import device

        base = self._base()
        with usage():
            found = device(name)
            target = base.target_on(
                found, batch=self.batch, precision=self.precision, runtime=self.runtime
            )
        if found.peak_flops(target.precision) is None and found.peak_flops("fp32") is not None:
            note(
                f"note: what {name} reaches in {target.precision} is not known; it is taken for "
                "that of fp32",
                quiet=quiet,
            )
        runtimes = sorted({t.runtime for t in base.targets})
        if target.runtime not in runtimes:
            note(
                f"note: no known target runs on {target.runtime}, only on {', '.join(runtimes)}",
                quiet=quiet,
            )
        note(
            f"note: {name} is predicted from its specification, as {target}; a few measurements "
            "narrow the interval (latcast suggest, latcast adapt)",
            quiet=quiet,
        )
        return base.predictor(target, found)

    def _base(self) -> BaseModel:
        from latcast.models import BaseModel, zoo

        name = self.model
        if name is None:
            name = DEFAULT_SPACE if self.space is None else self.space.block_space
            if name not in zoo.base_names():
                raise UsageError(
                    f"no base model is shipped for {name}, only for "
                    f"{', '.join(zoo.base_names())}: train one (latcast train DATA DATA …) and "
                    "give it with --model"
                )
        base = load_any(name)
        if not isinstance(base, BaseModel):
            raise UsageError(f"--model must be a base model of many targets; {name} is for one")
        return base
