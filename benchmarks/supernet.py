"""Compare networks that are cut out of a supernet with those of Once-For-All's own code.

    python benchmarks/supernet.py --once-for-all once-for-all

The folder is a checkout of github.com/mit-han-lab/once-for-all. A supernet of its classes, with
random weights, is saved under the names of the published files; both sides cut networks out of it
in single precision. Modules are then compared in double, in which all that is left of a difference
is one of method. It needs PyTorch, and nothing else that the checkout asks for.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

import latcast
from latcast.bench.tables import machine
from latcast.ofa import network_module, ofa_module
from latcast.ofa._checkpoint import plain
from latcast.ofa._export import export
from latcast.ofa._modules import OFANetwork
from latcast.ofa._transfer import calibrate
from latcast.spaces import Archs, SupernetSpace

_MOBILE = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
SUPERNETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ofa-mobilenet-v3": ("OFAMobileNetV3", {**_MOBILE, "width_mult": 1.2}),
    "ofa-mobilenet-v3-w1.0": ("OFAMobileNetV3", {**_MOBILE, "width_mult": 1.0}),
    "ofa-proxyless": ("OFAProxylessNASNets", {**_MOBILE, "width_mult": 1.3}),
    "ofa-resnet50": (
        "OFAResNets",
        {
            "depth_list": [0, 1, 2],
            "expand_ratio_list": [0.2, 0.25, 0.35],
            "width_mult_list": [0.65, 0.8, 1.0],
        },
    ),
}
"""Space -> class of Once-For-All's supernet, and what its model zoo makes it with."""
RESOLUTION = 128
SAMPLES = 6
BATCHES = (5, 3)
FLOOR = 1e-2
"""Statistics below count as this large where a difference is divided by them."""

State = Mapping[str, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once-for-all", type=Path, required=True, help="a checkout of theirs")
    code = TheirCode.load(parser.parse_args().once_for_all)
    print(f"{machine()}, PyTorch {torch.__version__}")
    print(f"Once-For-All: {len(code.files)} files, sha256 {code.digest()}")
    for name in SUPERNETS:
        print(f"\n{name}, {SAMPLES + 2} networks at resolution {RESOLUTION}")
        for what, found in compared(name, code):
            print(f"  {what:72}{found}", flush=True)


# -- their code -------------------------------------------------------------------------------


@dataclass(frozen=True)
class TheirCode:
    """What is used of a checkout.

    Attributes:
        supernets: the classes of their supernets, by name.
        calibrate: their function that measures a network's batch norms.
        files: of the modules that were imported.
    """

    supernets: Mapping[str, Any]
    calibrate: Any
    files: tuple[Path, ...]

    @classmethod
    def load(cls, folder: Path) -> TheirCode:
        """Import from a checkout.

        Raises:
            FileNotFoundError: the folder is none.
        """
        nets = "ofa.imagenet_classification"
        if not (folder / nets.replace(".", "/")).is_dir():
            raise FileNotFoundError(f"{folder} must be a checkout of once-for-all; got another")
        # Packages' own files would import their training code, and what that needs.
        for part in ("", ".modules", ".networks"):
            _package(folder, f"{nets}.elastic_nn{part}")
        utils = _package(folder, "ofa.utils")
        for part in ("common_tools", "my_modules", "pytorch_modules", "pytorch_utils"):
            utils.__dict__.update(vars(importlib.import_module(f"ofa.utils.{part}")))
        networks = _package(folder, f"{nets}.networks")
        for part in ("mobilenet_v3", "proxyless_nets", "resnets"):
            networks.__dict__.update(vars(importlib.import_module(f"{nets}.networks.{part}")))
        modules = _package(folder, f"{nets}.elastic_nn.modules")
        modules.__dict__.update(
            vars(importlib.import_module(f"{nets}.elastic_nn.modules.dynamic_layers"))
        )
        supernets: dict[str, Any] = {}
        for part in ("ofa_mbv3", "ofa_proxyless", "ofa_resnets"):
            supernets |= vars(importlib.import_module(f"{nets}.elastic_nn.networks.{part}"))
        tools = importlib.import_module(f"{nets}.elastic_nn.utils")
        files = [getattr(m, "__file__", None) for n, m in sys.modules.items() if n[:4] == "ofa."]
        return cls(
            supernets,
            tools.set_running_statistics,
            tuple(sorted(Path(file) for file in files if file)),
        )

    def digest(self) -> str:
        """Of all files, to tell versions apart."""
        return hashlib.sha256(b"".join(f.read_bytes() for f in self.files)).hexdigest()[:16]


def _package(folder: Path, name: str) -> ModuleType:
    """An empty package, and those that it is in, whose modules are found in the checkout."""
    parent = name.rpartition(".")[0]
    if parent and parent not in sys.modules:
        _package(folder, parent)
    sys.modules[name] = module = ModuleType(name)
    module.__path__ = [str(folder / name.replace(".", "/"))]
    return module


def supernet_of(code: TheirCode, space: str) -> Any:
    """Their supernet with random values, and statistics with which images tell in the outputs."""
    torch.manual_seed(0)
    kind, options = SUPERNETS[space]
    net = code.supernets[kind](dropout_rate=0, **copy.deepcopy(options))
    with torch.no_grad():
        for name, values in net.named_parameters():
            if "matrix" in name:
                values.add_(torch.randn_like(values) * 0.1)
            elif ".bn." in name and name.endswith("weight"):
                # Of sums of many blocks, each should add little.
                few = "point_linear" in name or "conv3" in name
                values.uniform_(0.5, 1.5).mul_(0.4 if few else 1.0)
            elif values.ndim > 1:
                values.normal_(0, (2 / values[0].numel()) ** 0.5)
            else:
                values.normal_(0, 0.2)
    net.set_max_net()
    code.calibrate(net, [(images(16), None)])
    return net.eval()


def images(n: int) -> Tensor:
    """Noise about a colour of each image's own, shape (n, 3, side, side)."""
    return torch.randn(n, 3, 1, 1) + torch.randn(n, 3, RESOLUTION, RESOLUTION)


# -- comparisons ------------------------------------------------------------------------------


def compared(name: str, code: TheirCode) -> Iterator[tuple[str, str]]:
    """What was compared, and what was found."""
    space = latcast.space(name)
    assert isinstance(space, SupernetSpace)
    theirs, ours = supernet_of(code, name), network_module(space.supernet(), elastic=True)
    state = {_published(key): values for key, values in theirs.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        yield from _supernets(theirs, ours, state)
        file = Path(folder) / "super.pth"
        torch.save({"state_dict": state}, file)
        pairs = [Pair.of(arch, theirs, file) for arch in networks(space)]
        yield from _cut_out(pairs)
        x, batches = images(4), [images(n) for n in BATCHES]
        off = [pair.calibrated(batches, code) for pair in pairs]
        yield "calibrated means and variances: largest difference / size", _largest(off)
        outputs = [pair.static(x.double()) for pair in pairs]
        sizes = [float(y.abs().max()) for y in outputs]
        for what, ours_of in (
            ("outputs", [pair.ours(x.double()) for pair in pairs]),
            ("our ONNX, in single precision", [pair.onnx(x, file) for pair in pairs]),
        ):
            apart = [_apart(y, z) for y, z in zip(ours_of, outputs, strict=True)]
            yield f"calibrated: {what}, largest difference", _largest(apart)
            shares = [a / size for a, size in zip(apart, sizes, strict=True)]
            yield f"calibrated: {what}, largest difference / size", _largest(shares)
        # What differences are to be seen against.
        spread = min(float((y - y.mean(0)).abs().max()) for y in outputs)
        yield "calibrated: their outputs from image to image, least", f"{spread:.2g}"


def _supernets(theirs: Any, ours: OFANetwork, state: State) -> Iterator[tuple[str, str]]:
    shapes = [(key, values.shape) for key, values in ours.state_dict().items()]
    same = shapes == [(key, values.shape) for key, values in state.items()]
    yield "supernet: names, shapes and their order", f"{_equal(same)} ({len(shapes)} tensors)"
    # As any module loads it, before our own reading of other names.
    nn.Module.load_state_dict(ours, state, strict=True)
    yield "supernet: load_state_dict(strict=True) of theirs", "all keys match"
    theirs.load_state_dict(ours.state_dict())
    yield "supernet: their class loads ours", "all keys match"
    theirs.set_max_net()
    largest, x = copy.deepcopy(theirs).double(), images(2).double()
    yield "supernet: outputs, largest difference", _largest([_apart(ours.double()(x), largest(x))])


@dataclass(frozen=True)
class Pair:
    """One network, cut out by both in single precision, and then in double.

    Attributes:
        arch: which.
        static: the module that they cut out.
        again: one of their class that has loaded the file that we wrote.
        ours: that of ours.
    """

    arch: Archs
    static: Any
    again: Any
    ours: OFANetwork

    @classmethod
    def of(cls, arch: Archs, theirs: Any, file: Path) -> Pair:
        """Cut out of their supernet, and of the file that it was saved to."""
        theirs.set_active_subnet(**arch.to_dicts()[0])
        static, again = (theirs.get_active_subnet(preserve_weight=own) for own in (True, False))
        written = export(arch, file.with_name("net.pt"), weights=file)
        again.load_state_dict(torch.load(written.file, weights_only=True))
        ours = ofa_module(arch, file).double()
        return cls(arch, static.eval().double(), again.eval().double(), ours)

    def tensors(self) -> tuple[bool, int, int]:
        """Whether names and their order are theirs; tensors that are equal; of how many."""
        ours, theirs = (
            {plain(key): values for key, values in module.state_dict().items()}
            for module in (self.ours, self.static)
        )
        names = [n for n in theirs if not n.endswith("tracked")]
        equal = sum(torch.equal(ours[n], theirs[n]) for n in names)
        return list(ours) == list(theirs), equal, len(names)

    def calibrated(self, batches: list[Tensor], code: TheirCode) -> float:
        """The largest difference of statistics, by their size; changes both modules."""
        code.calibrate(self.static, [(batch.double(), None) for batch in batches])
        calibrate(self.ours, [batch.double().numpy() for batch in batches])
        self.ours.double()
        theirs = {plain(key): values for key, values in self.static.state_dict().items()}
        return max(
            float(((values - theirs[plain(key)]).abs() / (values.abs() + FLOOR)).max())
            for key, values in self.ours.state_dict().items()
            if "running" in key
        )

    def onnx(self, x: Tensor, file: Path) -> Tensor:
        """Outputs of our file in ONNX Runtime."""
        own = file.with_name("own.pt")
        torch.save(self.ours.state_dict(), own)
        written = export(self.arch, file.with_name("net.onnx"), weights=own, batch=len(x))
        session = ort.InferenceSession(str(written.file), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def _cut_out(pairs: list[Pair]) -> Iterator[tuple[str, str]]:
    found = [pair.tensors() for pair in pairs]
    yield "cut out: names and their order", _equal(all(same for same, _, _ in found))
    equal, all_of_them = (sum(row[n] for row in found) for n in (1, 2))
    yield "cut out: tensors that are equal, bit by bit", f"{equal} of {all_of_them}"
    x = images(4).double()
    for what, name in (("their module", "static"), ("their class with our .pt", "again")):
        apart = [_apart(pair.ours(x), getattr(pair, name)(x)) for pair in pairs]
        yield f"cut out: outputs against {what}, largest difference", _largest(apart)


def networks(space: SupernetSpace) -> Iterator[Archs]:
    """The smallest, the largest, and some in between."""
    for end in (0, -1):
        extreme = {g.name: [g.choices[end]] for g in space.genes} | {"r": [RESOLUTION]}
        yield space.sample(1, 0, restrict=extreme)
    yield from space.sample(SAMPLES, seed=3, restrict={"r": [RESOLUTION]})


def _published(name: str) -> str:
    """A name of their code as the published files have it."""
    return re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", name)


def _apart(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max())


def _largest(values: list[float]) -> str:
    return f"{np.max(values):.2g}"


def _equal(same: bool) -> str:
    return "equal" if same else "NOT equal"


if __name__ == "__main__":
    main()
