"""Networks of transformers by settings that their papers and checkpoints state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# A module, and its inputs: shapes of floats, or tensors.
_Built = tuple[Any, dict[str, Any]]

_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
# Width, layers and heads of Whisper's encoders; features of the sound that they read.
_WHISPER = {
    "tiny": (384, 4, 6, 80), "base": (512, 6, 8, 80), "small": (768, 12, 12, 80),
    "large-v3": (1280, 32, 20, 128),
}  # fmt: skip


def built(model: str, sides: tuple[int, ...]) -> _Built:
    """A model that :data:`_TEXTS` or :data:`_OTHERS` has, for inputs of these sides."""
    import torch

    if model in _TEXTS:
        kind, settings = _TEXTS[model]
        return _model(kind, settings), {"input_ids": torch.zeros((1, sides[0]), dtype=torch.long)}
    if model.startswith("whisper-"):
        return _whisper(model.removeprefix("whisper-").removesuffix("-encoder"), sides[0])
    module = _OTHERS[model]()
    frames = (16,) if model.startswith("videomae") else ()
    if model == "wavlm-base-plus":
        return module, {"input_values": (1, sides[0])}
    inputs: dict[str, Any] = {"pixel_values": (1, *frames, 3, *sides)}
    if model == "opus-mt-encoder":
        inputs = {"input_ids": torch.zeros((1, sides[0]), dtype=torch.long)}
    if model.startswith("clip-vit"):
        inputs["input_ids"] = torch.zeros((1, 77), dtype=torch.long)
    return module, inputs


def _model(kind: str, settings: dict[str, Any]) -> Any:
    import transformers

    class_ = getattr(transformers, kind)
    return class_(class_.config_class(**settings))


# Model -> its class, and the settings in which it is not the default.
_TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "albert-base": ("AlbertForMaskedLM", {**_BASE, "embedding_size": 128}),
    "bert-base": ("BertForMaskedLM", {}),
    "distilbert": ("DistilBertForMaskedLM", {}),
    "electra-base": ("ElectraForPreTraining", {**_BASE, "embedding_size": 768}),
    "mobilebert": ("MobileBertForMaskedLM", {}),
    "nomic-bert": ("NomicBertModel", {}),
    "clip-text-large": (
        "CLIPTextModel", {**_BASE, "projection_dim": 768, "vocab_size": 49408}
    ),
    "clip-text-huge": (
        "CLIPTextModel",
        {"hidden_size": 1024, "num_hidden_layers": 23, "num_attention_heads": 16,
         "intermediate_size": 4096, "hidden_act": "gelu", "vocab_size": 49408},
    ),
}  # fmt: skip


def _marian() -> Any:
    settings = {"vocab_size": 65001, "d_model": 512, "encoder_ffn_dim": 2048, "encoder_layers": 6,
                "encoder_attention_heads": 8, "decoder_layers": 6, "decoder_ffn_dim": 2048,
                "decoder_attention_heads": 8, "pad_token_id": 65000}  # fmt: skip
    return _model("MarianModel", settings).encoder


def _whisper(size: str, frames: int) -> _Built:
    width, layers, heads, mels = _WHISPER[size]
    settings = {"d_model": width, "encoder_layers": layers, "encoder_attention_heads": heads,
                "decoder_attention_heads": heads, "encoder_ffn_dim": 4 * width,
                "num_mel_bins": mels, "decoder_layers": 1}  # fmt: skip
    return _model("WhisperModel", settings).encoder, {"input_features": (1, mels, frames)}


def _detr(layers: int, *, dilated: bool = False, conditional: bool = False) -> Any:
    import transformers

    backbone = transformers.ResNetConfig(
        depths=[3, 4, 6, 3] if layers == 50 else [3, 4, 23, 3], out_features=["stage4"]
    )
    kind = "ConditionalDetrForObjectDetection" if conditional else "DetrForObjectDetection"
    settings = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None,
                "backbone_config": backbone, "num_labels": 91}  # fmt: skip
    module = _model(kind, settings)
    if dilated:  # the last stage keeps the side of the one before it
        stage = next(m for n, m in module.named_modules() if n.endswith("encoder.stages.3"))
        for conv in (m for m in stage.modules() if type(m).__name__ == "Conv2d"):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation, conv.padding = (2, 2), (2, 2)
    return module


def _depth() -> Any:
    import transformers

    backbone = transformers.Dinov2Config(
        hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14,
        out_indices=[9, 10, 11, 12], apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip
    settings = {"backbone_config": backbone, "reassemble_hidden_size": 384, "patch_size": 14,
                "neck_hidden_sizes": [48, 96, 192, 384], "fusion_hidden_size": 64,
                "backbone": None}  # fmt: skip
    return _model("DepthAnythingForDepthEstimation", settings)


def _clip() -> Any:
    vision = {**_BASE, "patch_size": 16}
    text = {"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8,
            "intermediate_size": 2048}  # fmt: skip
    return _model("CLIPModel", {"vision_config": vision, "text_config": text})


_OTHERS: dict[str, Callable[[], Any]] = {
    "beit-base": lambda: _model("BeitForImageClassification", {"use_relative_position_bias": True}),
    "clip-vit-base-patch16": _clip,
    "conditional-detr-resnet50": lambda: _detr(50, conditional=True),
    "depth-anything-small": _depth,
    "detr-resnet101": lambda: _detr(101),
    "detr-resnet101-dc5": lambda: _detr(101, dilated=True),
    "detr-resnet50": lambda: _detr(50),
    "detr-resnet50-dc5": lambda: _detr(50, dilated=True),
    "opus-mt-encoder": _marian,
    "rf-detr-base": lambda: _model("RfDetrForObjectDetection", {}),
    "sam2-hiera-tiny-encoder": lambda: _model("Sam2VisionModel", {}),
    "segformer-b0": lambda: _model("SegformerForSemanticSegmentation", {"num_labels": 150}),
    "trocr-small-encoder": lambda: _model(
        "DeiTModel",
        {**_BASE, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536,
         "image_size": 384},
    ),
    "videomae-base": lambda: _model("VideoMAEForVideoClassification", {"num_labels": 400}),
    "wavlm-base-plus": lambda: _model("WavLMModel", {}),
}  # fmt: skip
