"""The one door: from a name, a device, a target or a file to the predictors that answer.

What is asked of a target is kept apart from what nobody said (:class:`TargetQuery`). An answer is
for exactly that, in this order of preference: the model that was named; other shipped models of
its device; the device's specification. What it was taken from stands in its notes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._remembered import remembering
from latcast.data import Dataset
from latcast.devices import Target, devices
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from . import zoo
from ._base import Predictor
from ._model import Model, open_model
from .hub import is_file
from .query import Resolved, TargetQuery, is_base, is_base_model
from .zoo import Role, UnresolvedError, open_shipped

if TYPE_CHECKING:
    from latcast.graph import Graph

    from .base_model import BaseModel

__all__ = [
    "Resolved",
    "TargetQuery",
    "UnresolvedError",
    "load",
    "load_layers",
    "load_with_data",
    "resolve",
    "resolve_one",
]

# --- one answer or several --------------------------------------------------------------------


def _same_question(
    name: str | Path,
    query: TargetQuery | None = None,
    *,
    role: Role = "space",
    space: SearchSpace | None = None,
    base: str | Path | BaseModel | None = None,
    similar_to: str | None = None,
    vary: tuple[str, float] | None = None,
) -> tuple[object, ...] | None:
    """Return the key of a question, by which answers are kept; None for a base without a name."""
    if not (base is None or isinstance(base, str)):
        return None
    return str(name), query, role, space and space.name, base, similar_to, vary


@remembering(_same_question)
def resolve(
    name: str | Path,
    query: TargetQuery | None = None,
    *,
    role: Role = "space",
    space: SearchSpace | None = None,
    base: str | Path | BaseModel | None = None,
    similar_to: str | None = None,
    vary: tuple[str, float] | None = None,
) -> list[Resolved]:
    """All predictors that a name stands for.

    Args:
        name: a shipped model, a device, a whole target such as ``tesla-p40/pytorch/b64``, or a
            model file (``.latcast``).
        query: what the target must be; anything by default.
        role: ``space`` for architectures, ``networks`` for any network.
        space: of the architectures; any by default.
        base: base model from which devices are predicted by their specification, even those that
            have a model of their own; the shipped one of the space by default.
        similar_to: a device of the catalogue that one which is nowhere is like.
        vary: a figure of the device, such as ``bandwidth_gb_s``, and what it is to be: the answer
            is by its specification, whatever models it has.

    Returns:
        One predictor; several where a device has several models that fit.

    Raises:
        UnresolvedError: there is no such name, a file's model does not fit, or nothing can answer.
        ValueError: a file is damaged.
        FileNotFoundError: there is no such file.
    """
    query = query or TargetQuery()
    if is_file(name):
        if vary is not None:
            raise UnresolvedError(f"{name} must be a device, whose {vary[0]} can vary")
        return [_of_file(str(name), query, role, space, base)]
    named, query = TargetQuery.named(str(name), query)
    own = next((zoo.target(named, r) for r in _roles(role) if named in zoo.names(r)), None)
    device = named if own is None else own.device
    if role == "networks" and named == device:
        # A name that is a device's and a model's is the device that a network's file is to run on.
        own = None
    if base is None and vary is None and similar_to is None:
        shipped = _shipped(named, device, query, role, space)
        notes = [] if own is None or query.fits(own) else [_brought_over(named, own, query)]
        several = len(shipped) > 1
        if shipped and role == "networks" and (own is None or named not in zoo.names(role)):
            from .by_device import beyond_spaces

            better = beyond_spaces(str(name), device, query, shipped)
            if better is not None:
                return [better]
        if shipped:
            return [
                Resolved(
                    n if several else str(name), open_shipped(n, role), notes=notes,
                    is_named=n == named != device,
                )
                for n in shipped
            ]  # fmt: skip
    # A model of the name itself needs none of this.
    from .by_device import by_joint, by_joint_or_host, in_space_by_device

    if role == "networks":
        if vary or similar_to:
            return [by_joint(str(name), device, query, own, similar_to, vary)]
        return [by_joint_or_host(str(name), device, query, own)]
    options: dict[str, Any] = {"similar_to": similar_to, "vary": vary}
    return [in_space_by_device(str(name), device, query, own, space, base, **options)]


def resolve_one(name: str | Path, query: TargetQuery | None = None, **options: Any) -> Resolved:
    """:func:`resolve`, of a name that must stand for one predictor.

    Raises:
        ValueError, FileNotFoundError: likewise, or it stands for several; the message names them.
    """
    found = resolve(name, query, **options)
    if len(found) > 1:
        names = ", ".join(r.name for r in found)
        raise UnresolvedError(f"{name} has several models; name one: {names}")
    return found[0]


def load(
    name: str | Path,
    *,
    networks: Graph | Sequence[Graph] | Archs | None = None,
    space: str | SearchSpace | None = None,
    runtime: str | None = None,
    batch: int | None = None,
    precision: str | None = None,
    threads: int | None = None,
    base: str | Path | BaseModel | None = None,
) -> Any:
    """The model that a name stands for: a shipped one, of a device, of a target, or of a file.

    Args:
        name: as with :func:`resolve`, or a search space: its base model.
        networks: what will be asked of it: graphs, or architectures.
        space: of the architectures, likewise.
        runtime: of the target; what is given holds exactly.
        batch: likewise.
        precision: likewise.
        threads: likewise, of the CPU.
        base: as with :func:`resolve`.

    Returns:
        A fitted predictor of architectures or (of networks, or where there is no other of that
        name) of any network; or a :class:`BaseModel`; from a file, whatever it holds.

    Raises:
        ValueError, FileNotFoundError: as :func:`resolve`, or several models fit.
    """
    query = TargetQuery(runtime, batch, precision, threads)
    if isinstance(space, str):
        space = find_space(space)
    if is_file(name):
        model = open_model(name)
        target = model.fitted.target
        if query.parts() and (target is None or not query.fits(target)):
            raise UnresolvedError(_must_be(name, query, target or "no single target"))
        return model
    if isinstance(networks, Archs):
        space = space or networks.space
    is_graphs = networks is not None and not isinstance(networks, Archs)
    role: Role = "networks" if is_graphs else _usual_role(str(name))
    if role == "space" and name in zoo.names("base") and not query.parts():
        return open_shipped(str(name), "base")
    return resolve_one(name, query, role=role, space=space, base=base).predictor


def load_with_data(
    name: str | Path, read: Callable[[], Dataset], *, scored: bool = False
) -> tuple[Any, Dataset]:
    """A model and measurements for it, of architectures or of networks of any kind.

    A name may stand for a model of either: the data tells which is meant. A file is told by
    itself, before the data is read.

    Args:
        name: as with :func:`load`.
        read: reads the measurements.
        scored: whether the model must be of their target, where a device has several.

    Raises:
        ValueError, FileNotFoundError: as :func:`load`; or ``scored`` of a model of many targets.
    """
    if is_file(name):
        model, data = open_model(name), read()
    else:
        data = read()
        target, parts = data.target, {}
        if target is not None:
            threads = target.threads or None
            parts = TargetQuery(target.runtime, target.batch, target.precision, threads).parts()
        if not (scored and str(name) == target.device) and not _answers(name, data, parts):
            parts = {}
        model = load(name, networks=data.networks, **parts)
    if scored and is_base_model(model):
        raise UnresolvedError(is_base(str(name)))
    return model, data


def _answers(name: str | Path, data: Dataset, parts: dict[str, Any]) -> bool:
    """Whether a device is known by the runtime of some measurements, and all else of their target.

    Then that is what is adapted to them: from ten networks of an EPYC Turin by ONNX Runtime the
    usual target of a Core i7-12700K, ncnn on all cores, comes to 15 – 19 % in the median, and the
    one like the measurements to 5 – 7; of a Xeon 8480+ to 38 – 41 and 5 – 7 % (three draws).
    """
    of_graphs = not isinstance(data.networks, Archs)
    if not of_graphs or not parts or str(name) not in devices():
        return False
    try:
        (found,) = resolve(name, TargetQuery(**parts), role="networks")
    except (UnresolvedError, ValueError):
        return False
    return bool(getattr(found.predictor, "is_of_known_domain", True))


def load_layers(name: str | Path) -> Predictor:
    """:func:`load`, of a model of any network.

    Raises:
        ValueError, FileNotFoundError: likewise, or it is another model.
    """
    return resolve_one(name, role="networks").predictor


# --- files and shipped models -----------------------------------------------------------------


def _of_file(
    name: str, query: TargetQuery, role: Role, space: SearchSpace | None, base: object
) -> Resolved:
    model = open_model(name)
    if model.kind == "joint":
        raise UnresolvedError(
            f"{name} is a joint model of many targets, of which one must be named: latcast predict "
            "NETWORK --device DEVICE"
        )
    if role == "networks" and not (isinstance(model, Predictor) and model.is_of_any_network):
        raise UnresolvedError(
            f"{name} is a model of a search space's architectures: ask it about those (latcast "
            f"predict best.json --device {name}, as latcast search --out writes them); a network's "
            "file needs a layer model (latcast train DATA --predictor layers), or a device"
        )
    if role == "space":
        model = _in_space(name, model, space)
        _check_of_space(name, model, space)
    if base is not None:
        raise UnresolvedError(
            f"{name} must be a device where a base model is given; it is a model of {model.target}"
        )
    if not query.fits(model.target):
        raise UnresolvedError(_must_be(name, query, model.target))
    return Resolved(name, model, is_named=True)


def _in_space(name: str, model: Any, space: SearchSpace | None) -> Any:
    """A target of the joint model as of one search space, any other model as it is."""
    if model.kind != "joint-target":
        return model
    from .joint import JointSpacePredictor

    if space is None:
        raise UnresolvedError(
            f"{name} predicts networks of any kind: name the search space of the architectures "
            "(--space)"
        )
    return JointSpacePredictor.of(model, space)


def _check_of_space(name: str, model: Model, space: SearchSpace | None) -> None:
    if is_base_model(model):
        raise UnresolvedError(is_base(name))
    if not model.fitted.quantity.of_target:
        raise UnresolvedError(
            f"{name} is a model of {model.fitted.quantity.plural}, which belong to no device"
        )
    if not isinstance(model, Predictor) or model.is_of_any_network:
        raise UnresolvedError(
            f"{name} is a layer model, of networks of any kind; architectures need a model of "
            "their own search space"
        )
    if space is not None and space.block_space != model.space.name:
        raise UnresolvedError(f"{name} is for {model.space.name}; it knows nothing of {space.name}")


def _roles(role: Role) -> tuple[Role, ...]:
    """Return the roles in which a name is looked up: the given one, then the others."""
    return ("networks", "space") if role == "networks" else ("space", "networks")


def _usual_role(name: str) -> Role:
    """Return the role of a name, where only the name tells it."""
    of_space = name in zoo.names() or name in zoo.names("base")
    return "networks" if name in zoo.names("networks") and not of_space else "space"


def _shipped(
    name: str, device: str, query: TargetQuery, role: Role, space: SearchSpace | None
) -> list[str]:
    """Names of the shipped models that answer: the one that was named, or those of its device."""

    def fits(model: str) -> bool:
        of_space = role == "networks" or space is None
        return query.fits(zoo.target(model, role)) and (
            of_space or zoo.header(model, role)["space"] == space.block_space  # type: ignore[union-attr]
        )

    if name in zoo.names(role) and fits(name):
        return [name]
    return [n for n in zoo.of_device(device, role) if fits(n)]


def _brought_over(name: str, own: Target, query: TargetQuery) -> str:
    return f"the model {name} is of {own}: another answers for {query}"


def _must_be(name: str | Path, query: TargetQuery, target: Target | str) -> str:
    return f"{name} must be a model of {query}; it is one of {target}"
