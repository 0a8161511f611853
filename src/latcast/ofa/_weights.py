"""An architecture of a Once-For-All space as a PyTorch module with weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from latcast._imports import require

from ._images import ImageFolder

if TYPE_CHECKING:
    from latcast.spaces import Archs, SupernetSpace
    from latcast.spaces._mobile import MobileNet
    from latcast.spaces._resnet import ResNet

    from ._checkpoint import State
    from ._modules import OFANetwork

CALIBRATION_BATCH = 32
# How names of kernel transforms end, which only supernets have.
_MATRIX = "_matrix"


def ofa_module(
    arch: Archs,
    weights: str | Path | None = None,
    *,
    seed: int = 0,
    images: ImageFolder | None = None,
) -> OFANetwork:
    """One architecture as a PyTorch module in evaluation mode, named as Once-For-All does.

    Args:
        arch: a batch of one, of a space of OFA networks.
        weights: a checkpoint file: of the supernet of the space's width, out of which the network
            is cut, or of the architecture itself. Without one weights are random, the same as
            ``arch.space.network(arch).weights(seed)``.
        seed: of random weights.
        images: to calibrate batch norms on, at the architecture's resolution. A network that was
            cut out needs it, the largest one too: in a supernet's training every network that is
            drawn moves the statistics, which end up as those of none.

    Raises:
        ValueError: the space has no supernet, or the checkpoint is of another network.
        FileNotFoundError: there is no such checkpoint.
        ModuleNotFoundError: PyTorch is not installed.
    """
    require("torch", "torch", "building PyTorch modules")
    from ._transfer import calibrate, unfold

    space, arch = in_supernet(arch)
    module = network_module(space.specification(arch))
    if weights is None:
        graph = space.network(arch)
        unfold(graph, graph.weights(seed), module)
    else:
        _load(module, space, Path(weights))
    if images is not None:
        side = int(arch.genes[0, -1])
        calibrate(module, images.batches(side, CALIBRATION_BATCH))
        module.calibrated = True
    return module


def network_module(of: MobileNet | ResNet, *, elastic: bool = False) -> OFANetwork:
    """The module of a network's widths and blocks, with random weights (see :class:`OFANetwork`).

    Raises:
        ModuleNotFoundError: PyTorch is not installed.
    """
    require("torch", "torch", "building PyTorch modules")
    from ._modules import OFANetwork

    return OFANetwork(of, elastic=elastic)


def in_supernet(arch: Archs) -> tuple[SupernetSpace, Archs]:
    """The architecture in the space of the supernet that holds it.

    Raises:
        ValueError: there is no such supernet.
    """
    from latcast.spaces import SupernetSpace

    # Subspaces such as CompOFA's have fewer genes, but their networks are cut from the same
    # supernet.
    expanded = arch.space.expand(arch)
    if not isinstance(expanded.space, SupernetSpace):
        raise ValueError(
            "weights and PyTorch modules are for the spaces of OFA networks (ofa-…, compofa-…); "
            f"got {arch.space.name}, which is exported as ONNX with random weights"
        )
    return expanded.space, expanded


def _load(module: OFANetwork, space: SupernetSpace, path: Path) -> None:
    """Give ``module`` the weights of a file, of a supernet's or of its own."""
    import torch

    from ._checkpoint import check_state, plain, read_checkpoint
    from ._transfer import extract

    state = read_checkpoint(path)
    own = {plain(name): tensor for name, tensor in module.state_dict().items()}
    with torch.device("meta"):  # for its shapes: drawing all of its weights takes half a second
        supernet = network_module(space.supernet(), elastic=True).state_dict()
    # Supernets without elastic kernels have no transforms: there only shapes tell whose a file is.
    tells = any(name.endswith(_MATRIX) for name in supernet)
    if any(name.endswith(_MATRIX) for name in state) if tells else not _is_own(state, own):
        other = "" if tells else ", or of the architecture itself"
        what = f"{path} must be a checkpoint of the supernet of {space.name}{other}"
        state = check_state(state, supernet, what)
        state = extract(state, own, module.of.numbers)
        module.calibrated = False
    else:
        what = f"{path} must be a checkpoint of a supernet, or of the architecture itself"
        state = check_state(state, own, what)
        module.calibrated = None
    module.load_state_dict(state, strict=True)


def _is_own(state: State, own: State) -> bool:
    """Whether a file has the network's own tensors, with their shapes."""
    return all(name in own and own[name].shape == x.shape for name, x in state.items())
