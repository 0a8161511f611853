"""Predictors: architecture -> milliseconds on one target, with intervals."""

from __future__ import annotations

from pathlib import Path

from latcast._names import unknown_name

from . import zoo
from ._base import Explanation, Predictor, load_predictor
from ._form import Form
from .base_model import BaseModel, is_base_model
from .bayes import Bayes
from .flops import Flops
from .layers import LayerPredictor, is_layer_model
from .lookup_table import LookupTable
from .mlp import MLP
from .roofline import Roofline

__all__ = [
    "MLP",
    "PREDICTORS",
    "BaseModel",
    "Bayes",
    "Explanation",
    "Flops",
    "Form",
    "LayerPredictor",
    "LookupTable",
    "Predictor",
    "Roofline",
    "is_base_model",
    "is_layer_model",
    "load",
    "load_any",
    "load_base",
    "load_layers",
    "predictor",
    "zoo",
]

PREDICTORS: dict[str, type[Predictor]] = {
    p.kind: p for p in (Roofline, Bayes, LookupTable, MLP, Flops)
}


def predictor(kind: str) -> Predictor:
    """A new predictor of a kind, with its default options.

    Raises:
        ValueError: there is no such kind.
    """
    try:
        return PREDICTORS[kind]()
    except KeyError:
        raise ValueError(unknown_name("predictor", kind, list(PREDICTORS))) from None


def load(name: str | Path) -> Predictor:
    """A fitted predictor from a model file, or a shipped one by the name of its device.

    Args:
        name: a path that ends in ``.latcast``, or a name of :func:`latcast.models.zoo.names`.

    Raises:
        ValueError: the file is damaged, or there is no such shipped model.
        FileNotFoundError: there is no such file.
    """
    if str(name).endswith(".latcast"):
        if is_base_model(name):
            raise ValueError(
                f"{name} is a base model of many targets: load it with latcast.load_base, and ask "
                "it for the predictor of a target"
            )
        if is_layer_model(name):
            raise ValueError(
                f"{name} is a layer model, of networks of any kind: load it with "
                "latcast.load_layers"
            )
        return load_predictor(name, PREDICTORS)
    with zoo.model_path(str(name)) as path:
        return load_predictor(path, PREDICTORS)


def load_base(name: str | Path) -> BaseModel:
    """A base model from its file, or the shipped one of a search space.

    Args:
        name: a path that ends in ``.latcast``, or a name of
            :func:`latcast.models.zoo.base_names`.

    Raises:
        ValueError: the file is damaged or no base model, or there is no such shipped one.
        FileNotFoundError: there is no such file.
    """
    if str(name).endswith(".latcast"):
        return BaseModel.load(name)
    with zoo.base_path(str(name)) as path:
        return BaseModel.load(path)


def load_layers(name: str | Path) -> LayerPredictor:
    """A layer model from its file, or a shipped one by its name or that of its device.

    Args:
        name: a path that ends in ``.latcast``, a name of
            :func:`latcast.models.zoo.layer_names`, or a device that has one of them.

    Raises:
        ValueError: the file is damaged or no layer model, there is no such shipped one, or the
            device has several.
        FileNotFoundError: there is no such file.
    """
    if not str(name).endswith(".latcast"):
        with zoo.layer_path(str(name)) as path:
            return LayerPredictor.load(path)
    if not is_layer_model(name):
        other = "load_base" if is_base_model(name) else "load"
        raise ValueError(
            f"{name} is a model of a search space's architectures, not of networks of any kind: "
            f"load it with latcast.{other}"
        )
    return LayerPredictor.load(name)


def load_any(name: str | Path) -> Predictor | BaseModel:
    """What :func:`load` or :func:`load_base` finds under a name.

    Raises:
        ValueError, FileNotFoundError: as these.
    """
    is_file = str(name).endswith(".latcast")
    if (is_file and is_base_model(name)) or (not is_file and name in zoo.base_names()):
        return load_base(name)
    return load(name)
