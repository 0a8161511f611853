"""Networks that no package has and that look at images, as their papers describe them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from _corpus_writing import Built, Net, Sides, conv, image, residual, seq
from torch import nn
from torch.nn import functional


def _upsampled(x: Any, like: Any) -> Any:
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


# --- maps of images ----------------------------------------------------------------------------


def _unet(sides: Sides) -> Built:
    """U-Net (arXiv:1505.04597) with padding, batch norms and transposed convolutions."""

    def two(a: int, b: int) -> nn.Module:
        return seq(conv(a, b), conv(b, b))

    widths = (64, 128, 256, 512, 1024)

    def run(net: Any, x: Any) -> Any:
        kept = [net.first(x)]
        for down in net.downs:
            kept.append(down(kept[-1]))
        x = kept.pop()
        for up, joined in zip(net.ups, net.convs, strict=True):
            x = joined(torch.cat([kept.pop(), up(x)], 1))
        return net.last(x)

    pairs = list(pairwise(widths))
    net = Net(
        run, first=two(3, 64), last=nn.Conv2d(64, 2, 1),
        downs=nn.ModuleList(seq(nn.MaxPool2d(2), two(a, b)) for a, b in pairs),
        ups=nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs)),
        convs=nn.ModuleList(two(b, a) for a, b in reversed(pairs)),
    )  # fmt: skip
    return image(net, sides)


def _resnet_stages(module: Any, x: Any) -> list[Any]:
    """What a torchvision ResNet gives after each of its stages."""
    x = module.maxpool(module.relu(module.bn1(module.conv1(x))))
    found = []
    for stage in (module.layer1, module.layer2, module.layer3, module.layer4):
        x = stage(x)
        found.append(x)
    return found


def _bisenet(sides: Sides) -> Built:
    """BiSeNet (arXiv:1808.00897) on ResNet-18, 12 classes."""
    from torchvision.models import resnet18

    def refine(width: int) -> nn.Module:
        gate = seq(nn.AdaptiveAvgPool2d(1), conv(width, width, 1, act=nn.Sigmoid))
        return Net(lambda net, x: x * net.gate(x), gate=gate)

    def run(net: Any, x: Any) -> Any:
        near = net.spatial(x)
        *_, third, fourth = _resnet_stages(net.context, x)
        far = net.refine4(fourth) * fourth.mean((2, 3), keepdim=True)
        found = [near, _upsampled(net.refine3(third), near), _upsampled(far, near)]
        y = net.fuse(torch.cat(found, 1))
        y = y + y * net.gate(y)
        return net.last(functional.interpolate(y, scale_factor=8.0, mode="bilinear"))

    context = resnet18()
    context.fc = nn.Identity()
    gate = seq(nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 12, 1), nn.ReLU(), nn.Conv2d(12, 12, 1),
                nn.Sigmoid())  # fmt: skip
    spatial = seq(conv(3, 64, s=2), conv(64, 128, s=2), conv(128, 256, s=2))
    net = Net(
        run, spatial=spatial, context=context, refine3=refine(256), refine4=refine(512),
        fuse=conv(1024, 12), gate=gate, last=nn.Conv2d(12, 12, 1),
    )  # fmt: skip
    return image(net, sides)


def _pspnet(sides: Sides) -> Built:
    """PSPNet (arXiv:1612.01105) on a dilated ResNet-101, 150 classes."""
    from torchvision.models import resnet101

    def run(net: Any, x: Any) -> Any:
        y = _resnet_stages(net.context, x)[-1]
        pools = [_upsampled(pool(y), y) for pool in net.pools]
        y = net.last(torch.cat([y, *pools], 1))
        return functional.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True)

    context = resnet101(replace_stride_with_dilation=[False, True, True])
    context.fc = nn.Identity()
    pools = nn.ModuleList(seq(nn.AdaptiveAvgPool2d(n), conv(2048, 512, 1)) for n in (1, 2, 3, 6))
    last = seq(conv(4096, 512), nn.Conv2d(512, 150, 1))
    return image(Net(run, context=context, pools=pools, last=last), sides)


def _ffnet(*blocks: int, width: int = 320) -> Callable[[Sides], Built]:
    """FFNet (arXiv:2206.08236): slim ResNets of basic blocks, and convolutions back up."""

    def stage(a: int, b: int, n: int, stride: int) -> nn.Module:
        parts = []
        for m in range(n):
            first = m == 0
            body = seq(conv(a if first else b, b, s=stride if first else 1), conv(b, b, act=None))
            fits = a == b and stride == 1
            shortcut = conv(a, b, 1, stride, None) if first and not fits else None
            parts.append(residual(body, shortcut, relu=True))
        return seq(*parts)

    widths = (64, 64, 128, 192, 320)

    def run(net: Any, x: Any) -> Any:
        x = net.stem(x)
        found = []
        for part, side in zip(net.stages, net.sides, strict=True):
            x = part(x)
            found.append(side(x))
        y = torch.cat([_upsampled(z, found[0]) for z in found], 1)
        return net.last(y)

    def build(sides: Sides) -> Built:
        stages = nn.ModuleList(
            stage(widths[n], widths[n + 1], blocks[n], 1 if n == 0 else 2) for n in range(4)
        )
        net = Net(
            run, stem=seq(conv(3, 32, s=2), conv(32, 64, s=2)), stages=stages,
            sides=nn.ModuleList(conv(w, 96, 1) for w in widths[1:]),
            last=seq(conv(384, width), nn.Conv2d(width, 19, 1)),
        )  # fmt: skip
        return image(net, sides)

    return build


def _midas(sides: Sides) -> Built:
    """MiDaS small (arXiv:1907.01341) on EfficientNet-Lite3."""
    import timm

    widths = (64, 128, 256, 512)

    def unit(width: int) -> nn.Module:
        convs = [nn.Conv2d(width, width, 3, padding=1) for _ in range(2)]
        return residual(seq(nn.ReLU(), convs[0], nn.ReLU(), convs[1]))

    def run(net: Any, x: Any) -> Any:
        kept = [conv(y) for conv, y in zip(net.convs, net.context(x), strict=True)]
        y = None
        for z, before, after, out in zip(
            reversed(kept), net.before, net.after, net.out, strict=True
        ):
            y = after(z if y is None else y + before(z))
            y = out(
                functional.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=True)
            )
        return net.last(y)

    context = timm.create_model(
        "tf_efficientnet_lite3", features_only=True, out_indices=(1, 2, 3, 4)
    )
    down = [512, 256, 128, 64]
    net = Net(
        run, context=context,
        convs=nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False)
            for a, b in zip((32, 48, 136, 384), widths, strict=True)
        ),
        before=nn.ModuleList([nn.Identity(), *(unit(w) for w in down[1:])]),
        after=nn.ModuleList(unit(w) for w in down),
        out=nn.ModuleList(nn.Conv2d(w, max(w // 2, 64), 1) for w in down),
        last=seq(nn.Conv2d(64, 32, 3, padding=1), nn.Upsample(scale_factor=2, mode="bilinear"),
                  nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1), nn.ReLU()),
    )  # fmt: skip
    return image(net, sides)


def _craft(sides: Sides) -> Built:
    """CRAFT (arXiv:1904.01941): where letters are, on VGG-16 with batch norms."""
    from torchvision.models import vgg16_bn

    layers = list(vgg16_bn().features)
    cuts = (0, 12, 19, 29, 39)
    slices = [seq(*layers[a:b]) for a, b in pairwise(cuts)]
    top = [
        nn.MaxPool2d(3, 1, 1),
        nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
        nn.Conv2d(1024, 1024, 1),
    ]

    def run(net: Any, x: Any) -> Any:
        kept = []
        for part in net.slices:
            x = part(x)
            kept.append(x)
        x = net.top(x)
        for up in net.ups:
            x = up(torch.cat([_upsampled(x, kept[-1]), kept.pop()], 1))
        return net.last(x)

    ups = nn.ModuleList(
        seq(conv(a, b, 1), conv(b, c))
        for a, b, c in ((1536, 512, 256), (768, 256, 128), (384, 128, 64), (192, 64, 32))
    )
    heads: list[nn.Module] = []
    for a, b, k in ((32, 32, 3), (32, 32, 3), (32, 16, 3), (16, 16, 1)):
        heads += [nn.Conv2d(a, b, k, padding=k // 2), nn.ReLU()]
    last = seq(*heads, nn.Conv2d(16, 2, 1))
    return image(Net(run, slices=nn.ModuleList(slices), top=seq(*top), ups=ups, last=last), sides)


def _hrnet(width: int, *, is_face: bool) -> Callable[[Sides], Built]:
    """HRNet (arXiv:1908.07919): joints from its largest maps, a face's points from all of them."""

    def run(net: Any, x: Any) -> Any:
        m = net.context
        x = m.act2(m.bn2(m.conv2(m.act1(m.bn1(m.conv1(x))))))
        maps = m.stages(x)
        if is_face:
            return net.last(torch.cat([_upsampled(y, maps[0]) for y in maps], 1))
        return net.last(maps[0])

    def build(sides: Sides) -> Built:
        import timm

        whole = timm.create_model(f"hrnet_w{width}")
        names = ("conv1", "bn1", "act1", "conv2", "bn2", "act2")
        context = Net(
            lambda _: None, **{name: getattr(whole, name) for name in names},
        )  # fmt: skip
        context.stages = whole.stages
        context.stage_parts = nn.ModuleDict(
            {
                n: m
                for n, m in whole.named_children()
                if "stage" in n or "transition" in n or n == "layer1"
            }
        )
        last = (
            seq(conv(15 * width, 15 * width, 1), nn.Conv2d(15 * width, 29, 1))
            if is_face else nn.Conv2d(width, 17, 1)
        )  # fmt: skip
        return image(Net(run, context=context, last=last), sides)

    return build


# --- classes, boxes and points -----------------------------------------------------------------


def _mobilenet_v1(channels: int, stride: int) -> nn.Sequential:
    """MobileNet v1 (arXiv:1704.04861) without its classifier, down to 1 / stride."""
    parts = [conv(channels, 32, s=2, act=nn.ReLU6)]
    side, a = 2, 32
    for b, wanted in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5,
                      (1024, 2), (1024, 1)):  # fmt: skip
        step = wanted if side * wanted <= stride else 1
        side *= step
        parts += [conv(a, a, s=step, act=nn.ReLU6, groups=a), conv(a, b, 1, act=nn.ReLU6)]
        a = b
    return seq(*parts)


def _posenet(sides: Sides) -> Built:
    """PoseNet (arXiv:1803.08225) on MobileNet v1, 17 points."""

    def run(net: Any, x: Any) -> Any:
        y = net.body(x)
        heat, *others = (head(y) for head in net.heads)
        return torch.sigmoid(heat), *others

    heads = nn.ModuleList(nn.Conv2d(1024, n, 1) for n in (17, 34, 32, 32))
    return image(Net(run, body=_mobilenet_v1(3, 16), heads=heads), sides)


def _yamnet(sides: Sides) -> Built:
    """YAMNet: MobileNet v1 of a spectrogram, 521 classes."""
    head = seq(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 521))
    return image(seq(_mobilenet_v1(1, 32), head), sides, 1)


def _ir_se(sides: Sides) -> Built:
    """ArcFace's ResNet-100 (arXiv:1801.07698) with squeeze and excitation."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        gate = seq(nn.AdaptiveAvgPool2d(1), nn.Conv2d(b, b // 16, 1, bias=False), nn.ReLU(),
                    nn.Conv2d(b // 16, b, 1, bias=False), nn.Sigmoid())  # fmt: skip
        body = seq(
            nn.BatchNorm2d(a), nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.PReLU(b),
            nn.Conv2d(b, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b),
            Net(lambda net, x: x * net.gate(x), gate=gate),
        )  # fmt: skip
        shortcut = nn.MaxPool2d(1, stride) if a == b else conv(a, b, 1, stride, None)
        return residual(body, shortcut)

    parts: list[nn.Module] = [conv(3, 64, act=lambda: nn.PReLU(64))]
    a = 64
    for b, n in ((64, 3), (128, 13), (256, 30), (512, 3)):
        parts += [block(a if m == 0 else b, b, 2 if m == 0 else 1) for m in range(n)]
        a = b
    tail = seq(nn.BatchNorm2d(512), nn.Flatten(), nn.Linear(512 * 49, 512), nn.BatchNorm1d(512))
    return image(seq(*parts, tail), sides)


def _vgg_box(sides: Sides) -> Built:
    """Boxes in space from a deep network (arXiv:1612.00496), on VGG-19 with batch norms."""
    from torchvision.models import vgg19_bn

    def head(width: int, out: int) -> nn.Module:
        return seq(nn.Linear(25088, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                    nn.Linear(width, out))  # fmt: skip

    def run(net: Any, x: Any) -> Any:
        y = net.features(x).flatten(1)
        return tuple(h(y) for h in net.heads)

    heads = nn.ModuleList([head(256, 4), head(256, 2), head(512, 3)])
    return image(Net(run, features=vgg19_bn().features, heads=heads), sides)


def _rpn(sides: Sides) -> Built:
    """Faster R-CNN's proposals (arXiv:1506.01497) on ResNet-50's third stage, not sorted yet."""
    from torchvision.models import resnet50

    def run(net: Any, x: Any) -> Any:
        y = net.body(x)
        z = functional.relu(net.conv(y))
        return y, net.scores(z), net.boxes(z)

    whole = resnet50()
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    body = seq(*(getattr(whole, name) for name in names))
    net = Net(
        run, body=body, conv=nn.Conv2d(1024, 1024, 3, padding=1), scores=nn.Conv2d(1024, 15, 1),
        boxes=nn.Conv2d(1024, 60, 1),
    )  # fmt: skip
    return image(net, sides)


SEEING: dict[str, Callable[[Sides], Built]] = {
    "bisenet-resnet18": _bisenet,
    "craft": _craft,
    "ffnet-40s": _ffnet(4, 5, 6, 4),
    "ffnet-54s": _ffnet(5, 8, 8, 5),
    "ffnet-78s": _ffnet(6, 12, 12, 8),
    "ffnet-78s-low": _ffnet(6, 12, 12, 8, width=128),
    "hrnet-w18-face": _hrnet(18, is_face=True),
    "hrnet-w32-pose": _hrnet(32, is_face=False),
    "ir-se-100": _ir_se,
    "midas-small": _midas,
    "posenet-mobilenet": _posenet,
    "pspnet-resnet101": _pspnet,
    "rpn-resnet50-c4": _rpn,
    "unet": _unet,
    "vgg19-3d-box": _vgg_box,
    "yamnet": _yamnet,
}
"""Name -> what builds it for inputs of some sides."""
