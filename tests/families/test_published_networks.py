"""Published networks against the numbers that their papers and libraries give."""

from __future__ import annotations

import pytest

from latcast.families import Variant, family, family_names
from latcast.graph import GraphBuilder
from latcast.graph.read.onnx import read_onnx

# Parameters as torchvision and timm tell of their definitions. Million MACs of convolutions,
# linear layers and products of matrices: to three digits of a GMAC they are those that
# torchvision's documentation lists; MobileNet (569) and DeiT (1260, 4600) as in timm's.
PUBLISHED = {
    "resnet-18": (1814.07, 11_689_512),
    "resnet-34": (3663.76, 21_797_672),
    "resnet-50": (4089.18, 25_557_032),
    "resnet-101": (7801.41, 44_549_160),
    "resnet-152": (11513.63, 60_192_808),
    "resnext-50-32x4d": (4230.48, 25_028_904),
    "wide-resnet-50-2": (11398.02, 68_883_240),
    "mobilenet-v1": (568.74, 4_231_976),
    "mobilenet-v2": (300.77, 3_504_872),
    "mobilenet-v3-large": (216.59, 5_483_032),
    "mobilenet-v3-small": (56.51, 2_542_856),
    "efficientnet-b0": (385.81, 5_288_548),
    "efficientnet-b1": (686.80, 7_794_184),
    "convnext-tiny": (4455.53, 28_589_128),
    "convnext-small": (8683.71, 50_223_688),
    "vgg-11": (7609.09, 132_863_336),
    "vgg-13": (11308.47, 133_047_848),
    "vgg-16": (15470.26, 138_357_544),
    "vgg-19": (19632.06, 143_667_240),
    "squeezenet-1.0": (818.92, 1_248_424),
    "squeezenet-1.1": (349.15, 1_235_496),
    "densenet-121": (2834.16, 7_978_856),
    "densenet-169": (3359.84, 14_149_480),
    "densenet-201": (4291.37, 20_013_928),
    "deit-tiny": (1253.68, 5_717_416),
    "deit-small": (4598.88, 22_050_664),
    "vit-base": (17563.83, 86_567_656),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_are_those_of_the_definition(name):
    variant = Variant.parse(name)
    builder = GraphBuilder()
    graph = builder.build(family(variant.family).build(builder, variant.parameters))
    mega_macs, params = PUBLISHED[name]
    assert graph.macs / 1e6 == pytest.approx(mega_macs, abs=0.006)
    # Folded batch norms are one bias a channel in files.
    assert graph.params + builder.folded_params == params
    if params < 20e6:
        again = read_onnx(variant.to_onnx())
        assert (again.macs, again.params) == (graph.macs, graph.params)


def test_nothing_published_is_left_out():
    names = [n for f in family_names() for n in family(f).published]
    assert sorted(names) == sorted(PUBLISHED)
