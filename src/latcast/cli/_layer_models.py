"""Layer models by the names that users give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ._common import UsageError, check_usable, usage

if TYPE_CHECKING:
    from latcast.data import Dataset
    from latcast.devices import Target
    from latcast.models import LayerPredictor


Other = TypeVar("Other")


@dataclass(frozen=True)
class Settings:
    """What the target must have; None where the user does not say.

    Attributes:
        batch: samples a forward pass.
        precision: such as ``fp32``.
        runtime: such as ``onnxruntime``.
    """

    batch: int | None = None
    precision: str | None = None
    runtime: str | None = None

    def fit(self, target: Target) -> bool:
        """Whether a target is as asked for."""
        return all(
            asked in (None, got)
            for asked, got in (
                (self.batch, target.batch),
                (self.precision, target.precision),
                (self.runtime, target.runtime),
            )
        )

    def __str__(self) -> str:
        parts = (("batch", self.batch), ("precision", self.precision), ("runtime", self.runtime))
        return ", ".join(f"{name} {value}" for name, value in parts if value is not None)


def load_with_data(
    name: str,
    read: Callable[[], Dataset],
    load: Callable[[str], Other],
) -> tuple[Other | LayerPredictor, Dataset]:
    """A model and the data for it.

    A device's layer model may be called as its model of a space: then the data tells which is
    meant. A file is told by itself, before the data is read.

    Args:
        name: of a model, or its file.
        read: reads the data.
        load: loads what is no layer model.
    """
    from latcast.models import is_layer_model, zoo

    if name.endswith(".latcast"):
        check_usable(Path(name))
        model = load_layer_model(name) if is_layer_model(name) else load(name)
        return model, read()
    data = read()
    others = (*zoo.names(), *zoo.base_names())
    only_layers = name in zoo.layer_names() and name not in others
    if only_layers or data.space is None:
        return load_layer_model(name), data
    return load(name), data


def load_layer_model(name: str, settings: Settings | None = None) -> LayerPredictor:
    """A layer model by its file, its name or its device.

    Args:
        name: as given with ``--device``.
        settings: choose among the models of a device, and must hold for any other; none by
            default.

    Raises:
        UsageError: there is none, the device has several, or its target is another.
    """
    from latcast import models

    settings = settings or Settings()
    if name.endswith(".latcast"):
        check_usable(Path(name))
        if not models.is_layer_model(name):
            raise UsageError(
                f"{name} is a model of a search space's architectures; a network's file needs a "
                "layer model: make one with latcast train DATA --predictor layers"
            )
        model = models.load_layers(name)
    else:
        with usage():
            model = models.load_layers(_shipped(name, settings))
    if not settings.fit(model.target):
        raise UsageError(f"{name} must be a model of {settings}; it is one of {model.target}")
    return model


def _shipped(name: str, settings: Settings) -> str:
    """Name of the shipped model that is meant."""
    from latcast.devices import Target
    from latcast.models import zoo

    if name in zoo.layer_names():
        return name
    models = {n: Target.parse(zoo.layer_header(n)["target"]) for n in zoo.layers_of_device(name)}
    fitting = [n for n, target in models.items() if settings.fit(target)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(f"{name} has several layer models; name one: {', '.join(fitting)}")
    if models:
        raise UsageError(f"{name} must have a model of {settings}; it has {', '.join(models)}")
    raise UsageError(_none(name))


def _none(name: str) -> str:
    """That there is no layer model of a name, and what to do."""
    from latcast._names import unknown_name
    from latcast.devices import devices
    from latcast.models import zoo

    shipped = zoo.layer_names()
    if name not in devices() and name not in (*zoo.names(), *zoo.base_names()):
        return unknown_name("layer model or device", name, [*shipped, *devices()])
    have = f"only {', '.join(shipped)} are" if shipped else "none is"
    return (
        f"no layer model is shipped for {name}, {have}: measure there and train one (latcast "
        "measure --population N, latcast train), or adapt another (latcast adapt)"
    )
