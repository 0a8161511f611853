"""Networks by name, such as ``timm:resnet18``, built on PyTorch's meta device without weights.

Nothing is downloaded: a name stands for the code of an installed package and its default settings.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._imports import require
from latcast._names import unknown_name
from latcast.graph._graph import Graph
from latcast.report.record import Record
from latcast.report.table import Column, Table

from ._inputs import ReadOptions
from .pytorch import read_pytorch

if TYPE_CHECKING:
    from torch import nn

# Of an image, a text, a second of sound, and a film, where a network fixes none.
_SIDE, _TOKENS, _SAMPLES, _FRAMES = 224, 128, 16_000, 16

# Name of an input -> its shape, and whether it holds whole numbers.
_Inputs = Mapping[str, tuple[Sequence[int], bool]]


def read_named(name: str, options: ReadOptions) -> Graph:
    """The network of a package by its name there.

    Its inputs have the sides that the package gives as defaults; ``options`` tell others, and the
    batch, which comes first.

    Args:
        name: ``timm:NAME``, ``torchvision:NAME``, or ``transformers:NAME``: a type of model such
            as ``bert``, with its default configuration, or a folder or JSON file of one.
        options: shapes of its inputs, and what else is asked.

    Raises:
        ModuleNotFoundError: PyTorch or the package is not installed.
        ValueError: the package has no such network, or PyTorch cannot export it.
    """
    package, _, model = name.partition(":")
    torch = require("torch", "models", f"building {name}")
    library = require(package, "models", f"building {name}")
    build, inputs_of = _PACKAGES[package](library, model)
    try:
        with torch.device("meta"):
            module = build()
    except (NotImplementedError, RuntimeError):
        module = build()  # it looks at numbers while it is built, which the meta device lacks
    module = module.to("meta").eval()
    told = inputs_of(module)
    shapes, left = _asked_shapes(told, options)
    inputs = {key: _input(torch, shapes[key], whole=whole) for key, (_, whole) in told.items()}
    axis = 0 if options.batch_axis is None else options.batch_axis
    asked = replace(options, batch_axis=axis, shapes=left)
    # Of a network that cannot be exported, PyTorch prints the whole program.
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return read_pytorch(module, keywords=inputs, options=asked, name=model)


@dataclass(frozen=True, repr=False)
class NetworkNames(Record):
    """Networks of an installed package that are forecast by their names.

    Attributes:
        package: ``timm``, ``torchvision`` or ``transformers``.
        networks: their names, such as ``timm:resnet18``; of transformers the types of models, each
            with its default configuration.
    """

    schema = "network-names"
    no_figure = "they are names alone"

    package: str
    networks: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> NetworkNames:
        """The networks whose names begin with a text, such as ``timm:`` or ``timm:mobilenet``.

        Raises:
            ModuleNotFoundError: the package is not installed.
            ValueError: there is no such package, or no such name.
        """
        package, _, start = text.partition(":")
        if package not in _PACKAGES:
            raise ValueError(unknown_name("package of networks", package, list(_PACKAGES)))
        library = require(package, "models", f"listing networks of {package}")
        if package == "transformers":
            every = sorted(library.CONFIG_MAPPING)
        else:
            every = list((library if package == "timm" else library.models).list_models())
        if not (found := [name for name in every if name.startswith(start)]):
            raise ValueError(unknown_name(f"network of {package}", start, every))
        return cls(package, tuple(f"{package}:{name}" for name in found))

    def answer(self) -> str:
        return f"{len(self.networks)} networks of {self.package} are forecast by their names."

    def parts(self) -> Iterator[Table | str]:
        yield Table([Column("network", str)], self.networks)
        more = ""
        if self.package == "transformers":
            more = "; so is the configuration of any other size, as transformers:FOLDER or a JSON"
        yield f"each is read by its name (latcast predict {self.networks[0]} --device NAME){more}"


def _asked_shapes(
    told: _Inputs, options: ReadOptions
) -> tuple[dict[str, Sequence[int]], dict[str, Sequence[int]]]:
    """Shapes of the inputs as they are asked for, and what is asked for beside whole shapes.

    All sides but channels are open: ``sequence`` is that of texts, or else of sound,
    ``resolution`` the two sides of images.

    Raises:
        ValueError: no input has such a side.
    """
    shapes = {
        name: list(options.shapes.get(name) or _batched(shape, options.batch))
        for name, (shape, _) in told.items()
    }
    left = {}
    for name, asked in options.shapes.items():
        places = [] if name in told else _places(name, told)
        if len(asked) != 1 or not places:
            left[name] = asked
        for key, axis in places if len(asked) == 1 else ():
            shapes[key][axis] = asked[0]
    if missing := next((name for name in left if name in ("sequence", "resolution")), None):
        known = ", ".join(f"{n} {'x'.join(map(str, shape))}" for n, shape in shapes.items())
        raise ValueError(
            f"{missing} must be a side of an input, of "
            f"{'a text or sound' if missing == 'sequence' else 'an image'}; the network reads "
            f"{known}: name one as INPUT.AXIS"
        )
    return dict(shapes), left


def _places(name: str, told: _Inputs) -> list[tuple[str, int]]:
    """Inputs and axes that a side is called, as ``x.2``, or by what it is of."""
    source, _, axis = name.rpartition(".")
    if source in told and axis.isdecimal() and int(axis) < len(told[source][0]):
        return [(source, int(axis))]
    texts = [key for key, (_, whole) in told.items() if whole]
    ranks = {key: len(shape) for key, (shape, _) in told.items()}
    if name == "sequence":
        sounds = [(key, rank - 1) for key, rank in ranks.items() if rank in (2, 3)]
        return [(key, 1) for key in texts] or sounds
    if name == "resolution":
        images = [key for key, rank in ranks.items() if rank > 3]
        return [(key, ranks[key] - n) for key in images for n in (2, 1)]
    return []


def _batched(shape: Sequence[int], batch: int | None) -> Sequence[int]:
    return (batch or 1, *shape[1:])


def _input(torch: Any, shape: Sequence[int], *, whole: bool) -> Any:
    kind = torch.long if whole else torch.float32
    return torch.zeros(tuple(shape), dtype=kind, device="meta")


# What builds a network, and what tells its inputs.
_Found = tuple[Callable[[], "nn.Module"], Callable[["nn.Module"], _Inputs]]


def _timm(timm: Any, name: str) -> _Found:
    if not timm.is_model(name):
        raise ValueError(unknown_name("network of timm", name, timm.list_models()))

    def inputs(module: nn.Module) -> _Inputs:
        size = getattr(module, "default_cfg", {}).get("input_size", (3, _SIDE, _SIDE))
        return {_first_argument(module): ((1, *size), False)}

    return (lambda: timm.create_model(name, pretrained=False)), inputs


def _torchvision(torchvision: Any, name: str) -> _Found:
    models = torchvision.models
    if name not in models.list_models():
        raise ValueError(unknown_name("network of torchvision", name, models.list_models()))
    builder = models.get_model_builder(name)
    # Weights of its backbone would be downloaded, and some draw their own for minutes.
    known = inspect.signature(builder).parameters
    given: dict[str, Any] = {"weights": None}
    given |= {k: v for k, v in (("weights_backbone", None),) if k in known}
    if name in ("googlenet", "inception_v3"):
        given |= {"init_weights": False, "aux_logits": False}

    def inputs(module: nn.Module) -> _Inputs:
        transforms = models.get_model_weights(name).DEFAULT.transforms()
        sizes = getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None)
        sides = list(sizes or (_SIDE,))
        sides = sides * 2 if len(sides) == 1 else sides
        frames = (_FRAMES,) if ".video" in builder.__module__ else ()
        return {_first_argument(module): ((1, 3, *frames, *sides), False)}

    return (lambda: builder(**given)), inputs


def _transformers(transformers: Any, name: str) -> _Found:
    if name in transformers.CONFIG_MAPPING:
        config = transformers.AutoConfig.for_model(name)
    elif Path(name).exists():
        try:
            config = transformers.AutoConfig.from_pretrained(
                name, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{name} must hold a configuration of transformers: {error}"
            ) from error
    else:
        known = list(transformers.CONFIG_MAPPING)
        raise ValueError(
            unknown_name("type of model, or file of one, of transformers", name, known)
        )
    for setting in ("use_cache", "return_dict"):
        if hasattr(config, setting):
            setattr(config, setting, setting == "return_dict")
    wanted = (getattr(config, "architectures", None) or [""])[0]
    kind: Any = getattr(transformers, wanted, None) if wanted.isidentifier() else None
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        kind = transformers.AutoModel
    build = kind.from_config if kind is transformers.AutoModel else kind._from_config
    return (lambda: build(config)), lambda module: _transformers_inputs(module, config)


def _transformers_inputs(module: nn.Module, config: Any) -> _Inputs:
    """Inputs by the names that transformers gives them, for text, images or sound."""
    parts = [config, *(getattr(config, f"{x}_config", None) for x in ("text", "vision", "audio"))]

    def told(key: str, default: int) -> Any:
        return next((v for c in parts if (v := getattr(c, key, None)) is not None), default)

    side = told("image_size", _SIDE)
    sides = tuple(side) if isinstance(side, list | tuple) else (side, side)
    tokens = min(_TOKENS, told("max_position_embeddings", _TOKENS))
    shapes: dict[str, tuple[Sequence[int], bool]] = {
        "input_ids": ((1, tokens), True),
        "pixel_values": ((1, told("num_channels", 3), *sides), False),
        "input_features": (
            (1, told("num_mel_bins", 80), 2 * told("max_source_positions", 1500)), False
        ),
        "input_values": ((1, _SAMPLES), False),
        "decoder_input_ids": ((1, tokens), True),
    }  # fmt: skip
    arguments = inspect.signature(module.forward).parameters
    main = str(getattr(module, "main_input_name", "input_ids"))
    names = [main]
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in arguments:
        names.append("decoder_input_ids")
    if "vision_config" in config.to_dict() and {"input_ids", "pixel_values"} <= set(arguments):
        names = ["input_ids", "pixel_values"]
    return {n: shapes.get(n, shapes["input_ids"]) for n in names}


def _first_argument(module: nn.Module) -> str:
    return next(iter(inspect.signature(module.forward).parameters))


# Package -> what builds a network of it, and an input.
_BUILT = {
    "timm": ("timm.create_model({0!r})", 'torch.zeros(1, *m.default_cfg["input_size"])'),
    "torchvision": ("torchvision.models.get_model({0!r})", "torch.zeros(1, 3, 224, 224)"),
    "transformers": (
        "transformers.AutoModel.from_config(transformers.AutoConfig.for_model({0!r}))",
        "torch.zeros(1, 128, dtype=torch.long)",
    ),
}


def export_lines(name: str) -> str:
    """Python that writes a network of a package as ONNX, with random weights, in one line."""
    package, _, model = name.partition(":")
    built, reads = _BUILT[package]
    file = f"{model.rpartition('/')[2]}.onnx"
    return (
        f"import torch, {package}; m = {built.format(model)}.eval(); "
        f'torch.onnx.export(m, ({reads},), "{file}", dynamo=False)'
    )


# Package -> what finds a network in it.
_PACKAGES: dict[str, Callable[[Any, str], _Found]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
}
