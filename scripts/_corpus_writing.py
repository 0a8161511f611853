"""Networks that no package has and that write images or text, as their papers describe them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Sides = tuple[int, ...]


class Net(nn.Module):
    """Parts by name, and what is done with them."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self._run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        image = [named.pop("input")] if "input" in named else []
        return self._run(self, *inputs, *image, **named)


# A module, and the shapes of its inputs by name.
Built = tuple[nn.Module, dict[str, Any]]


def image(module: nn.Module, sides: Sides, channels: int = 3) -> Built:
    return module, {"input": (1, channels, *sides)}


def seq(*parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(*parts)


def conv(a: int, b: int, k: int = 3, s: int = 1, act: Any = nn.ReLU, **more: Any) -> nn.Sequential:
    """A convolution with batch norm and an activation, unless that is None."""
    parts = [
        nn.Conv2d(a, b, k, s, more.pop("padding", k // 2), bias=False, **more),
        nn.BatchNorm2d(b),
    ]
    return seq(*parts, act()) if act else seq(*parts)


def residual(body: nn.Module, shortcut: nn.Module | None = None, *, relu: bool = False) -> Net:
    def run(net: Any, x: Any) -> Any:
        y = net.body(x) + net.shortcut(x)
        return functional.relu(y) if relu else y

    return Net(run, body=body, shortcut=shortcut or nn.Identity())


# --- images from images ------------------------------------------------------------------------


def _rrdb_net(sides: Sides) -> Built:
    """ESRGAN's (arXiv:1809.00219): 23 blocks of three dense blocks, 64 channels, four times."""

    def dense(net: Any, x: Any) -> Any:
        found = [x]
        for conv in net.convs[:-1]:
            found.append(functional.leaky_relu(conv(torch.cat(found, 1)), 0.2))
        return x + 0.2 * net.convs[-1](torch.cat(found, 1))

    def block(_: int) -> nn.Module:
        parts = [
            Net(dense, convs=nn.ModuleList(
                nn.Conv2d(64 + 32 * n, 32 if n < 4 else 64, 3, padding=1) for n in range(5)
            ))
            for _ in range(3)
        ]  # fmt: skip
        return Net(lambda net, x: x + 0.2 * net.parts(x), parts=seq(*parts))

    def run(net: Any, x: Any) -> Any:
        x = net.first(x)
        x = x + net.trunk(net.body(x))
        for up in net.ups:
            x = functional.leaky_relu(
                up(functional.interpolate(x, scale_factor=2.0, mode="nearest")), 0.2
            )
        return net.last(functional.leaky_relu(net.high(x), 0.2))

    def conv(a: int, b: int) -> nn.Conv2d:
        return nn.Conv2d(a, b, 3, padding=1)

    net = Net(
        run, first=conv(3, 64), body=seq(*map(block, range(23))), trunk=conv(64, 64),
        ups=nn.ModuleList([conv(64, 64), conv(64, 64)]), high=conv(64, 64), last=conv(64, 3),
    )  # fmt: skip
    return image(net, sides)


def _srvgg_net(sides: Sides) -> Built:
    """Real-ESRGAN's compact network (arXiv:2107.10833): 32 convolutions, four times as large."""
    parts: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), nn.PReLU(64)]
    for _ in range(32):
        parts += [nn.Conv2d(64, 64, 3, padding=1), nn.PReLU(64)]
    body = seq(*parts, nn.Conv2d(64, 48, 3, padding=1), nn.PixelShuffle(4))

    def run(net: Any, x: Any) -> Any:
        return net.body(x) + functional.interpolate(x, scale_factor=4.0, mode="nearest")

    return image(Net(run, body=body), sides)


def _quicksrnet(width: int, depth: int) -> Callable[[Sides], Built]:
    """QuickSRNet (arXiv:2303.04336), four times as large."""

    def build(sides: Sides) -> Built:
        parts: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.Hardtanh(0, 1)]
        for _ in range(depth):
            parts += [nn.Conv2d(width, width, 3, padding=1), nn.Hardtanh(0, 1)]
        last = nn.Conv2d(width, 48, 3, padding=1)
        return image(seq(*parts, last, nn.PixelShuffle(4), nn.Hardtanh(0, 1)), sides)

    return build


def _sesr(sides: Sides) -> Built:
    """SESR-M5 (arXiv:2103.09404) with the pairs of convolutions that deployment would merge."""

    def pair(a: int, b: int, k: int) -> nn.Module:
        return seq(
            nn.Conv2d(a, 256, k, padding=k // 2, bias=False), nn.Conv2d(256, b, 1, bias=False)
        )

    def run(net: Any, x: Any) -> Any:
        first = net.first(x)
        return net.last(net.body(first) + first)

    body = seq(*(seq(residual(pair(16, 16, 3)), nn.ReLU()) for _ in range(5)))
    last = seq(pair(16, 48, 5), nn.PixelShuffle(4))
    return image(Net(run, first=seq(pair(3, 16, 5), nn.ReLU()), body=body, last=last), sides)


def _xlsr(sides: Sides) -> Built:
    """XLSR (arXiv:2105.10288): blocks of grouped convolutions, four times as large."""

    def block() -> nn.Module:
        grouped = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        return seq(grouped, nn.ReLU(), nn.Conv2d(32, 32, 1))

    def run(net: Any, x: Any) -> Any:
        y = net.body(net.mixed(torch.cat([conv(x) for conv in net.firsts], 1)))
        return net.last(torch.cat([y, net.beside(x)], 1))

    net = Net(
        run, firsts=nn.ModuleList(nn.Conv2d(3, 8, 3, padding=1) for _ in range(4)),
        mixed=nn.Conv2d(32, 32, 1), body=seq(block(), block(), block()),
        beside=nn.Conv2d(3, 16, 3, padding=1),
        last=seq(nn.Conv2d(48, 32, 1), nn.ReLU(), nn.Conv2d(32, 48, 3, padding=1),
                  nn.PixelShuffle(4), nn.Hardtanh(0, 1)),
    )  # fmt: skip
    return image(net, sides)


def _aot_gan(sides: Sides) -> Built:
    """AOT-GAN (arXiv:2104.01431): eight blocks that add up four dilations, with a gate."""

    def block(net: Any, x: Any) -> Any:
        found = net.fuse(torch.cat([branch(x) for branch in net.branches], 1))
        gate = net.gate(x)
        mean, spread = gate.mean((2, 3), keepdim=True), gate.std((2, 3), keepdim=True)
        gate = torch.sigmoid(5 * (2 * (gate - mean) / (spread + 1e-9) - 1))
        return x * (1 - gate) + found * gate

    def dilated(n: int) -> nn.Module:
        return seq(nn.ReflectionPad2d(n), nn.Conv2d(256, 64, 3, dilation=n), nn.ReLU())

    def same() -> nn.Module:
        return seq(nn.ReflectionPad2d(1), nn.Conv2d(256, 256, 3))

    blocks = [
        Net(block, branches=nn.ModuleList(map(dilated, (1, 2, 4, 8))), fuse=same(), gate=same())
        for _ in range(8)
    ]
    ups: list[nn.Module] = []
    for a, b in ((256, 128), (128, 64)):
        ups += [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]  # fmt: skip
    net = seq(
        nn.ReflectionPad2d(3), nn.Conv2d(4, 64, 7), nn.ReLU(),
        nn.Conv2d(64, 128, 4, 2, 1), nn.ReLU(), nn.Conv2d(128, 256, 4, 2, 1), nn.ReLU(),
        *blocks, *ups, nn.Conv2d(64, 3, 3, padding=1), nn.Tanh(),
    )  # fmt: skip
    return image(net, sides, 4)


def _lama(sides: Sides) -> Built:
    """LaMa's baseline (arXiv:2109.07161): nine dilated residual blocks of 512 channels."""

    def block(dilation: int) -> nn.Module:
        pair = [
            nn.Conv2d(512, 512, 3, padding=d, dilation=d, bias=False, padding_mode="reflect")
            for d in (dilation, 1)
        ]
        norms = nn.BatchNorm2d(512), nn.BatchNorm2d(512)
        return residual(seq(pair[0], norms[0], nn.ReLU(), pair[1], norms[1]))

    ups: list[nn.Module] = []
    for a in (512, 256, 128):
        up = nn.ConvTranspose2d(a, a // 2, 3, 2, 1, 1)
        ups += [up, nn.BatchNorm2d(a // 2), nn.ReLU()]
    net = seq(
        nn.ReflectionPad2d(3), conv(4, 64, 7, padding=0), conv(64, 128, s=2), conv(128, 256, s=2),
        conv(256, 512, s=2), *(block(2 ** (n % 4)) for n in range(9)), *ups,
        nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7), nn.Sigmoid(),
    )  # fmt: skip
    return image(net, sides, 4)


# --- decoders of text --------------------------------------------------------------------------


def _decoder(
    layers: int, width: int, heads: int, words: int, source: int, hidden: int = 0
) -> Callable[[Sides], Built]:
    """One step of a transformer's decoder (arXiv:1706.03762), what it read before in caches.

    Args:
        layers: of it.
        width: features of a token.
        heads: of attention.
        words: that it chooses among.
        source: tokens of the encoder's.
        hidden: features between its linear layers; by default four times the width.
    """

    def attended(net: Any, x: Any, keys: Any, values: Any) -> Any:
        query = net.query(x).view(1, 1, heads, -1).transpose(1, 2)
        weights = (query @ keys.transpose(2, 3) * (width // heads) ** -0.5).softmax(-1)
        return net.out((weights @ values).transpose(1, 2).reshape(x.shape))

    def run(net: Any, x: Any, **caches: Any) -> Any:
        for n, layer in enumerate(net.layers):
            y = layer["norm1"](x)
            new = [layer[m](y).view(1, 1, heads, -1).transpose(1, 2) for m in ("key", "value")]
            old = (caches[f"key_{n}"], caches[f"value_{n}"])
            found = [torch.cat([o[:, :, 1:], z], 2) for o, z in zip(old, new, strict=True)]
            x = x + attended(layer["own"], y, *found)
            y = layer["norm2"](x)
            x = x + attended(layer["others"], y, caches[f"keys_of_{n}"], caches[f"values_of_{n}"])
            x = x + layer["feed"](layer["norm3"](x))
        return net.words(net.norm(x))

    def attention() -> nn.Module:
        return Net(attended, query=nn.Linear(width, width), out=nn.Linear(width, width))

    def layer() -> nn.ModuleDict:
        middle = hidden or 4 * width
        feed = seq(nn.Linear(width, middle), nn.GELU(), nn.Linear(middle, width))
        return nn.ModuleDict({
            "own": attention(), "others": attention(), "key": nn.Linear(width, width),
            "value": nn.Linear(width, width), "feed": feed,
            **{f"norm{n}": nn.LayerNorm(width) for n in (1, 2, 3)},
        })  # fmt: skip

    def build(sides: Sides) -> Built:
        net = Net(
            run, layers=nn.ModuleList(layer() for _ in range(layers)), norm=nn.LayerNorm(width),
            words=nn.Linear(width, words, bias=False),
        )  # fmt: skip
        shapes: dict[str, Any] = {"x": (1, 1, width)}
        for n in range(layers):
            for name, tokens in (
                ("key", sides[0]), ("value", sides[0]), ("keys_of", source), ("values_of", source)
            ):  # fmt: skip
                shapes[f"{name}_{n}"] = (1, heads, tokens, width // heads)
        return net, shapes

    return build


WRITING: dict[str, Callable[[Sides], Built]] = {
    "aot-gan": _aot_gan,
    "lama-dilated": _lama,
    "opus-mt-decoder": _decoder(6, 512, 8, 65001, 256),
    "quicksrnet-large": _quicksrnet(64, 11),
    "quicksrnet-medium": _quicksrnet(32, 5),
    "quicksrnet-small": _quicksrnet(32, 2),
    "rrdb-net": _rrdb_net,
    "sesr-m5": _sesr,
    "srvgg-net": _srvgg_net,
    "trocr-small-decoder": _decoder(6, 256, 8, 64002, 578),
    "whisper-base-decoder": _decoder(6, 512, 8, 51865, 1500),
    "whisper-large-v3-turbo-decoder": _decoder(4, 1280, 20, 51866, 1500),
    "whisper-small-decoder": _decoder(12, 768, 12, 51865, 1500),
    "whisper-tiny-decoder": _decoder(4, 384, 6, 51865, 1500),
    "xlsr": _xlsr,
}
"""Name -> what builds it for inputs of some sides."""
