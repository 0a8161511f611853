"""The one door: from a name, a device, a target or a file to the predictors that answer.

What is asked of a target is kept apart from what nobody said (:class:`TargetQuery`). An answer is
for exactly that, in this order of preference: the model that was named; other shipped models of
its device; the device's specification. What it was taken from stands in its notes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from latcast._names import unknown_name
from latcast.data import Dataset
from latcast.devices import Device, Target, devices
from latcast.graph.read import is_network
from latcast.spaces import Archs, SearchSpace
from latcast.spaces import space as find_space

from . import zoo
from ._base import Predictor
from ._model import Model, open_model
from .zoo import Role, UnresolvedError

if TYPE_CHECKING:
    from latcast.graph import Graph

    from .base_model import BaseModel

__all__ = [
    "Resolved",
    "TargetQuery",
    "UnresolvedError",
    "load",
    "load_base",
    "load_layers",
    "load_with_data",
    "open_model",
    "resolve",
    "resolve_one",
]

SUFFIX = ".latcast"
DEFAULT_SPACE = "ofa-mobilenet-v3"
# Models that an error names.
MAX_LISTED = 8

Basis = Literal["measurements", "specification"]

JOINT = zoo.JOINT


@dataclass(frozen=True)
class TargetQuery:
    """What is asked of a target besides its device; None where nothing is said.

    Attributes:
        runtime: such as ``onnxruntime``.
        batch: samples a forward pass.
        precision: such as ``fp16``.
        threads: of the CPU.
    """

    runtime: str | None = None
    batch: int | None = None
    precision: str | None = None
    threads: int | None = None

    def parts(self) -> dict[str, Any]:
        """What is said, by the name of the field of a target."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def fits(self, target: Target) -> bool:
        """Whether a target is as asked for."""
        return all(getattr(target, name) == value for name, value in self.parts().items())

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.parts().items())

    @classmethod
    def named(cls, name: str, query: TargetQuery) -> tuple[str, TargetQuery]:
        """A device, and all that is asked, from a name that may be a whole target.

        Raises:
            ValueError: the name has a slash and is no target, or says other than ``query``.
        """
        if is_network(name):
            raise UnresolvedError(
                f"a model, a device or a target must be named; got {name}, a network, which is "
                f"what they forecast: latcast predict {name} --device NAME"
            )
        if "/" not in name:
            return name, query
        try:
            target = Target.parse(name)
        except ValueError as error:
            raise UnresolvedError(str(error)) from None
        own = cls(target.runtime, target.batch, target.precision, target.threads or None)
        if not query.fits(target):
            raise UnresolvedError(f"{name} is a target, which is not of {query}: leave that out")
        return target.device, replace(own, **query.parts())


@dataclass(frozen=True)
class Resolved:
    """A predictor for what was asked.

    Attributes:
        name: as it was asked for; that of the shipped model where several answer.
        predictor: of exactly the target that was asked for, as far as one was.
        basis: what it was made from.
        notes: sentences about where it comes from.
    """

    name: str
    predictor: Predictor
    basis: Basis = "measurements"
    notes: list[str] = field(default_factory=list)

    @property
    def of_space(self) -> Predictor:
        """The predictor, of architectures."""
        assert not self.predictor.is_of_any_network
        return self.predictor


# --- one answer or several --------------------------------------------------------------------


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
    if str(name).endswith(SUFFIX):
        if vary is not None:
            raise UnresolvedError(f"{name} must be a device, whose {vary[0]} can vary")
        return [_of_file(str(name), query, role, space, base)]
    named, query = TargetQuery.named(str(name), query)
    own = next((zoo.target(named, r) for r in _roles(role) if named in zoo.names(r)), None)
    device = named if own is None else own.device
    if base is None and vary is None and similar_to is None:
        shipped = _shipped(named, device, query, role, space)
        notes = [] if own is None or query.fits(own) else [_brought_over(named, own, query)]
        several = len(shipped) > 1
        if shipped and role == "networks" and named not in zoo.names(role):
            better = _beyond_spaces(str(name), device, query, shipped)
            if better is not None:
                return [better]
        if shipped:
            return [
                Resolved(n if several else str(name), open_shipped(n, role), notes=notes)
                for n in shipped
            ]
    if role == "networks":
        found = _by_joint(str(name), device, query, own, similar_to, vary)
        return [found if vary or similar_to else _by_host(found)]
    options: dict[str, Any] = {"similar_to": similar_to, "vary": vary}
    return [_in_space_by_device(str(name), device, query, own, space, base, **options)]


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
    if str(name).endswith(SUFFIX):
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
    if str(name).endswith(SUFFIX):
        model, data = open_model(name), read()
    else:
        data = read()
        target, parts = data.target, {}
        if scored and str(name) == target.device:
            threads = target.threads or None
            parts = TargetQuery(target.runtime, target.batch, target.precision, threads).parts()
        model = load(name, networks=data.networks, **parts)
    if scored and _is_base_model(model):
        raise UnresolvedError(_is_base(str(name)))
    return model, data


def load_base(name: str | Path) -> BaseModel:
    """:func:`load`, of a base model: its file, or the search space of a shipped one.

    Raises:
        ValueError, FileNotFoundError: likewise, or it is another model.
    """
    is_file = str(name).endswith(SUFFIX)
    model = open_model(name) if is_file else open_shipped(str(name), "base")
    if not _is_base_model(model):
        raise UnresolvedError(
            f"{name} must be a base model of many targets; it is one of {model.kind}"
        )
    return model


def load_layers(name: str | Path) -> Predictor:
    """:func:`load`, of a model of any network.

    Raises:
        ValueError, FileNotFoundError: likewise, or it is another model.
    """
    return resolve_one(name, role="networks").predictor


# --- files and shipped models -----------------------------------------------------------------


def open_shipped(name: str, role: Role = "space") -> Any:
    """A shipped model.

    Raises:
        ValueError: there is none of that name.
    """
    if role == "networks" and name in zoo.of_joint():
        return open_shipped(JOINT, "joint").of_name(name)
    with zoo.path(name, role) as path:
        return _joint(path) if role == "joint" else open_model(path)


@lru_cache(maxsize=1)
def _joint(path: Path) -> Any:
    """The joint model, which one command may ask for dozens of targets."""
    return open_model(path)


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
            f"{name} is a model of a search space's architectures; a network's file needs a "
            "layer model: make one with latcast train DATA --predictor layers"
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
    return Resolved(name, model)


def _is_base_model(model: object) -> TypeGuard[BaseModel]:
    """Whether a model is of many targets, told by its kind: few commands load that module."""
    return isinstance(model, Model) and model.kind == "base"


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
    if _is_base_model(model):
        raise UnresolvedError(_is_base(name))
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
    """Where a name is looked for: among the models of the role, then among the others."""
    return ("networks", "space") if role == "networks" else ("space", "networks")


def _usual_role(name: str) -> Role:
    """What a name is of, where only the name says so."""
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


# --- by specification -------------------------------------------------------------------------


def _by_specification(
    name: str,
    device: str,
    query: TargetQuery,
    own: Target | None,
    space: SearchSpace | None,
    base: str | Path | BaseModel | None,
) -> Resolved:
    """A device by its specification, as exactly the target that is asked for.

    What is not asked for is as in the device's own model, ``own``, where there is one.
    """
    if device in zoo.names("base"):
        raise UnresolvedError(_is_base(device))
    if device not in devices():
        known = zoo.names()
        raise UnresolvedError(
            unknown_name(
                "model or device", name, [*known, *(d for d in devices() if d not in known)]
            )
        )
    model = _base(name, base, space) if base is None or isinstance(base, str | Path) else base
    found = devices()[device]
    target = _asked(model, found, query, own)
    notes = []
    if own is not None and own != target:
        notes.append(f"the model of {device} is of {own}, and another target was asked for")
    if found.peak_flops(target.precision) is None and found.peak_flops("fp32") is not None:
        notes.append(
            f"what {device} reaches in {target.precision} is not known; it is taken for that of "
            "fp32"
        )
    runtimes = sorted({t.runtime for t in model.targets})
    if target.runtime not in runtimes:
        notes.append(f"no known target runs on {target.runtime}, only on {', '.join(runtimes)}")
    notes.append(
        f"{device} is predicted from its specification, as {target}; a few measurements narrow "
        "the interval (latcast suggest, latcast adapt)"
    )
    return Resolved(name, model.predictor(target, found), "specification", notes)


def _asked(model: BaseModel, device: Device, query: TargetQuery, own: Target | None) -> Target:
    """The target that is asked for, whole."""
    try:
        if own is not None:
            return replace(own, **query.parts())
        return model.target_on(device, **query.parts())
    except ValueError as error:
        raise UnresolvedError(str(error)) from None


def _base(asked: str, name: str | Path | None, space: SearchSpace | None) -> BaseModel:
    """The base model of a name, or the shipped one of a space, for what was asked."""
    if name is None:
        name = DEFAULT_SPACE if space is None else space.block_space
        if name not in zoo.names("base"):
            own = ""
            if asked in zoo.names():
                own = f"{asked} is for {zoo.header(asked)['space']}; it knows nothing of {name}: "
            raise UnresolvedError(
                f"{own}no base model is shipped for {name}, only for "
                f"{', '.join(zoo.names('base'))}: "
                "train one (latcast train DATA DATA …) and give it with --model"
            )
    return load_base(name)


# --- any network on any device ----------------------------------------------------------------


def _beyond_spaces(
    name: str, device: str, query: TargetQuery, shipped: Sequence[str]
) -> Resolved | None:
    """The joint model's answer where a device's own models know architectures of spaces alone.

    They are out of their distribution with nearly all of any other network, and answer for it only
    where they are named, by their names or by a runtime that the joint model does not know. None
    where one knows other networks, too, or where the joint model cannot answer any better: it
    knows accelerators as far as they were measured.
    """
    if device not in devices() or any(zoo.header(n, "networks")["on_families"] for n in shipped):
        return None
    try:
        found = _by_joint(name, device, query, None, None, None)
    except UnresolvedError:
        return None
    joint: Any = found.predictor
    is_measured = found.basis == "measurements"
    is_known = is_measured or devices()[device].kind != "accelerator"
    is_shipped = joint.target in {zoo.target(n, "networks") for n in shipped}
    if is_shipped or not (joint.is_of_known_domain and is_known):
        return None
    of_spaces = f"models of search spaces' architectures on {device}: {', '.join(shipped)}"
    found.notes.append(f"{of_spaces}; name one for its answer")
    return found


def _in_space_by_device(
    name: str,
    device: str,
    query: TargetQuery,
    own: Target | None,
    space: SearchSpace | None,
    base: str | Path | BaseModel | None,
    **options: Any,
) -> Resolved:
    """A device without a model of the space: by the joint model, or by a base model.

    The latter answers where it is asked for, and where the joint model knows nothing of a runtime
    that it was trained on.
    """
    if base is not None:
        if options["similar_to"] is not None:
            raise UnresolvedError("a base model knows no similar devices: leave out one of both")
        # What nobody said is as in the targets that the base model knows.
        return _by_specification(name, device, query, None, space, base)
    if own is None and len(models := zoo.of_device(device)) == 1:
        own = zoo.target(models[0])
    is_known = options["similar_to"] is not None or device in devices()
    if not is_known or JOINT not in zoo.names("joint"):
        return _by_specification(name, device, query, own, space, None)
    batch = query.batch or (own.batch if own else None)
    found = _by_joint(name, device, replace(query, batch=batch), own, **options)
    from .joint import JointPredictor, JointSpacePredictor

    assert isinstance(found.predictor, JointPredictor)
    block_space = DEFAULT_SPACE if space is None else space.block_space
    if not found.predictor.is_of_known_domain and block_space in zoo.names("base"):
        runtimes = {t.runtime for t in load_base(block_space).targets}
        if found.predictor.target.runtime in runtimes and device in devices():
            return _by_specification(name, device, query, own, space, None)
    return replace(
        found, predictor=JointSpacePredictor.of(found.predictor, find_space(block_space))
    )


def _by_joint(
    name: str,
    device: str,
    query: TargetQuery,
    own: Target | None,
    similar_to: str | None,
    vary: tuple[str, float] | None,
) -> Resolved:
    """A device by the joint model, as exactly the target that is asked for."""
    known, alias = devices(), None
    if similar_to is not None:
        if device in known:
            raise UnresolvedError(f"{device} is a device of the catalogue: it needs no similar one")
        if similar_to not in known:
            raise UnresolvedError(unknown_name("device", similar_to, list(known)))
        device, alias = similar_to, device
    if device not in known or JOINT not in zoo.names("joint"):
        raise UnresolvedError(_no_layer_model(name, device, query))
    # Models of one target need none of it, nor the scipy.sparse that it loads.
    from .joint import Question

    joint = open_shipped(JOINT, "joint")
    # What is not asked for is as in the model that was named.
    usual = (
        {} if own is None else TargetQuery(own.runtime, None, own.precision, own.threads).parts()
    )
    parts = usual | query.parts()
    try:
        question = Question.of(known[device], joint.domains, name=alias, vary=vary, **parts)
    except ValueError as error:
        raise UnresolvedError(str(error)) from None
    predictor = joint.predictor(question)
    notes = list(predictor.card["notes"])
    if own is not None and vary is None:
        notes.insert(0, f"the model of {device} is of {own}, and another target was asked for")
    basis: Basis = "measurements" if predictor.card["rows"] else "specification"
    return Resolved(name, predictor, basis, notes)


def _by_host(found: Resolved) -> Resolved:
    """The answer of another x86 CPU's layer model, where nothing of this one was measured.

    Of ONNX Runtime and OpenVINO on such CPUs our campaigns know more than all public tables: by
    specification alone 61 real models on a Xeon are off by 56 and 38 %, by the models of the EPYC
    by 22.
    """
    joint: Any = found.predictor
    target = joint.target
    if found.basis == "measurements" or not joint.facts.get("isa_x86"):
        return found
    hosts = [
        name
        for name in zoo.names("networks")
        if name not in zoo.of_joint()
        and replace(zoo.target(name, "networks"), device=target.device) == target
    ]
    if not hosts:
        return found
    device = devices()[target.device]
    predictor = open_shipped(hosts[0], "networks").carried(device, target)
    predictor.least_ms = joint.least_ms
    note = (
        f"no network was measured on {device.group} by {target.runtime}: the forecast is by the "
        f"model {hosts[0]}, with arithmetic as fast as the peaks of a core of both devices say"
    )
    return replace(found, predictor=predictor, notes=[*found.notes[:-1], note])


# --- messages ---------------------------------------------------------------------------------


def _must_be(name: str | Path, query: TargetQuery, target: Target | str) -> str:
    return f"{name} must be a model of {query}; it is one of {target}"


def _is_base(name: str) -> str:
    return (
        f"{name} is a base model of many targets: adapt it to one (latcast adapt {name} DATA), or "
        f"predict a device by its specification (latcast predict --model {name})"
    )


def _no_layer_model(name: str, device: str, query: TargetQuery) -> str:
    """That there is no layer model of a name, and what to do."""
    shipped = zoo.names("networks")
    if have := zoo.of_device(device, "networks"):
        targets = ", ".join(f"{n} ({zoo.target(n, 'networks')})" for n in have)
        return f"{name} must have a model of {query}; it has {targets}"
    if device not in devices() and name not in (*zoo.names(), *zoo.names("base")):
        return unknown_name("layer model or device", name, [*shipped, *devices()])
    listed = ", ".join(shipped[:MAX_LISTED])
    more = f" and {len(shipped) - MAX_LISTED} others" if len(shipped) > MAX_LISTED else ""
    have_any = f"only {listed}{more} are (latcast models)" if shipped else "none is"
    return (
        f"no layer model is shipped for {name}, {have_any}: measure there and train one (latcast "
        "measure --population N, latcast train), or adapt another (latcast adapt)"
    )
