"""The models that Qualcomm's AI Hub names, as their packages define them.

``datasets/ai_hub_networks.csv`` has for every model and component there our name of the network,
which says where it comes from, or why it is left out. Those of ``published`` are written in
:mod:`_corpus_writing` and :mod:`_corpus_seeing`; as many parameters as the table states they have.
"""

from __future__ import annotations

import csv
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _corpus_neusight import recording_transformers
from _corpus_seeing import SEEING
from _corpus_writing import WRITING
from _recorded import recorded

from latcast.graph import Graph

TABLE = Path(__file__).parents[1] / "datasets" / "ai_hub_networks.csv"


def models() -> dict[str, str]:
    """A model and its component in the table -> our name of its network, of those that have one."""
    rows = csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines())
    return {f"{x['model']}/{x['component']}": x["network"] for x in rows if x["network"]}


def wanted() -> dict[str, Callable[[], dict[str, Graph]]]:
    """Name of a network that is not of timm's models -> what gives its graph."""
    return {
        name: lambda name=name: {name: _graph(name)}  # type: ignore[misc]
        for name in dict.fromkeys(models().values())
    }


def aliases(names: list[str]) -> dict[str, str]:
    """Names of the table's networks -> ours, of those that are there."""
    return {f"ai_hub:{model}": name for model, name in models().items() if name in names}


def _graph(name: str) -> Graph:
    import torch

    package, _, rest = name.partition(":")
    model, _, size = rest.partition("@")
    sides = tuple(int(x) for x in size.split("x"))
    sides = sides if len(sides) > 1 else sides * 2
    with torch.device("meta"):
        module, inputs = _BUILDERS[package](model, sides)
        arguments = {
            k: x if isinstance(x, torch.Tensor) else torch.zeros(x) for k, x in inputs.items()
        }
    if any(x.device.type != "meta" for x in (*module.parameters(), *module.buffers())):
        module.to("meta")
    with recording_transformers():
        return recorded(module.eval(), arguments, model)


# A module, and its inputs: shapes of floats, or tensors.
_Built = tuple[Any, dict[str, Any]]


def _timm(model: str, sides: tuple[int, ...]) -> _Built:
    import timm

    return timm.create_model(model), {"x": (1, 3, *sides)}


def _torchvision(model: str, sides: tuple[int, ...]) -> _Built:
    import torch
    from torchvision import models

    options: dict[str, Any] = {"weights": None}
    if model in ("googlenet", "inception_v3"):
        options |= {"init_weights": False, "aux_logits": False}
    if model.startswith("fcn"):
        options |= {"weights_backbone": None}
    frames = (16,) if sides[0] == 112 else ()  # the films' networks alone
    with torch.device("cpu"):  # some copy numbers while they are built
        module = models.get_model(model, **options)
    first = next(iter(inspect.signature(module.forward).parameters))
    return module, {first: (1, 3, *frames, *sides)}


def _ultralytics(model: str, sides: tuple[int, ...]) -> _Built:
    import torch
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel, yaml_model_load

    kind = SegmentationModel if model.endswith("-seg") else DetectionModel
    with torch.device("cpu"):  # strides are found by a pass
        module = kind(yaml_model_load(f"{model}.yaml"), verbose=False).fuse(verbose=False)
    head = module.model[-1]
    strides = head.stride.tolist()
    module.to("meta")
    head.stride = strides  # which are looked at
    return module, {"x": (1, 3, *sides)}


def _smp(model: str, sides: tuple[int, ...]) -> _Built:
    import segmentation_models_pytorch as smp

    encoder = model.removeprefix("deeplabv3plus-")
    encoder = encoder if encoder == "mobilenet_v2" else f"tu-{encoder}"
    module = smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=21)
    # Both sides must be multiples of 16 there.
    height, width = (-(-side // 16) * 16 for side in sides)
    return module, {"x": (1, 3, height, width)}


def _diffusers(model: str, sides: tuple[int, ...]) -> _Built:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    if model == "sd-vae-decoder":
        blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4,
                  "up_block_types": ["UpDecoderBlock2D"] * 4}  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=4, **blocks
        )
        return vae.decoder, {"sample": (1, 4, *sides)}
    old = model == "sd15-unet"
    width = 768 if old else 1024
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=width, use_linear_projection=not old,
        attention_head_dim=8 if old else [5, 10, 20, 20],
    )  # fmt: skip
    time = torch.zeros(1)
    return unet, {
        "sample": (1, 4, *sides), "timestep": time, "encoder_hidden_states": (1, 77, width)
    }  # fmt: skip


def _transformers(model: str, sides: tuple[int, ...]) -> _Built:
    import _corpus_transformers

    return _corpus_transformers.built(model, sides)


def _published(model: str, sides: tuple[int, ...]) -> _Built:
    return {**WRITING, **SEEING}[model](sides)


_BUILDERS: dict[str, Callable[[str, tuple[int, ...]], _Built]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "ultralytics": _ultralytics,
    "smp": _smp,
    "diffusers": _diffusers,
    "transformers": _transformers,
    "published": _published,
}
