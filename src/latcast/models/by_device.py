"""A device without a model of its own that fits: what answers for it.

For any network that is the joint model, or the layer model of another x86 CPU; for the
architectures of a search space the joint model, or the space's base model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latcast._names import unknown_name
from latcast.devices import Device, Target, devices, public_runtime
from latcast.report.markup import counted
from latcast.spaces import SearchSpace
from latcast.spaces import space as find_space

from . import zoo
from ._model import open_model
from .hub import is_file
from .query import Basis, Resolved, TargetQuery, is_base, is_base_model
from .runtimes import check_runtime, check_target
from .zoo import JOINT, UnresolvedError, open_shipped

if TYPE_CHECKING:
    from .base_model import BaseModel

DEFAULT_SPACE = "ofa-mobilenet-v3"
# Models that an error names.
MAX_LISTED = 8


def load_base(name: str | Path) -> BaseModel:
    """A base model: of a file, or the shipped one of a search space.

    Raises:
        ValueError: there is none of that name, the file is damaged, or it is another model.
        FileNotFoundError: there is no such file.
    """
    model = open_model(name) if is_file(name) else open_shipped(str(name), "base")
    if not is_base_model(model):
        raise UnresolvedError(
            f"{name} must be a base model of many targets; it is one of {model.kind}"
        )
    return model


# --- architectures of a space, by specification -----------------------------------------------


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
        raise UnresolvedError(is_base(device))
    if device not in devices():
        known = zoo.names()
        raise UnresolvedError(
            unknown_name(
                "model or device", name, [*known, *(d for d in devices() if d not in known)]
            )
        )
    model = _base(name, base, space) if base is None or isinstance(base, str | Path) else base
    if query.runtime is not None:
        check_runtime(query.runtime, {t.runtime for t in model.targets})
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


def beyond_spaces(
    name: str, device: str, query: TargetQuery, shipped: Sequence[str]
) -> Resolved | None:
    """The joint model's answer where a device's own models know architectures of spaces alone.

    They are out of their distribution with nearly all of any other network, of batches that files
    do not have (64 on a Tesla P40) or of runtimes that nobody can run (the Note10's lookup table).
    They answer for it only where they are named: by a name of their own, by their whole targets, or
    by a runtime that the joint model does not know. None
    where one knows other networks, too, or where the joint model cannot answer any better: it
    knows accelerators as far as they were measured.
    """
    if device not in devices() or any(zoo.header(n, "networks")["on_families"] for n in shipped):
        return None
    try:
        found = by_joint(name, device, query, None, None, None)
    except UnresolvedError:
        return None
    joint: Any = found.predictor
    is_measured = found.basis == "measurements"
    is_known = is_measured or devices()[device].kind != "accelerator"
    is_shipped = joint.target in {zoo.target(n, "networks") for n in shipped}
    if is_shipped or not (joint.is_of_known_domain and is_known):
        return None
    # The name of a device stands for all of its targets, so a model of that name is named by its
    # own.
    listed = ", ".join(str(zoo.target(n, "networks")) if n == device else n for n in shipped)
    of_spaces = f"models of search spaces' architectures on {device}: {listed}"
    found.notes.append(f"{of_spaces}; name one for its answer")
    return found


def in_space_by_device(
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
    found = by_joint(name, device, replace(query, batch=batch), own, **options)
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


def by_joint(
    name: str,
    device: str,
    query: TargetQuery,
    own: Target | None,
    similar_to: str | None,
    vary: tuple[str, float] | None,
    usual: str | None = None,
) -> Resolved:
    """A device by the joint model, as exactly the target that is asked for.

    Where no runtime is, it is ``usual``, or by default the one that is known best of its kind.
    """
    known, alias = devices(), None
    if similar_to is not None:
        if device in known:
            raise UnresolvedError(f"{device} is a device of the catalogue: it needs no similar one")
        if similar_to not in known:
            raise UnresolvedError(unknown_name("device", similar_to, list(known)))
        device, alias = similar_to, device
    if device not in known or JOINT not in zoo.names("joint"):
        raise UnresolvedError(_no_layer_model(name, device, query))
    if query.runtime is not None:
        check_runtime(query.runtime)
    # Models of one target need none of it, nor the scipy.sparse that it loads.
    from .joint import Question

    joint = open_shipped(JOINT, "joint")
    # What is not asked for is as in the model that was named.
    as_named = (
        {} if own is None else TargetQuery(own.runtime, None, own.precision, own.threads).parts()
    )
    parts = as_named | query.parts()
    try:
        question = Question.of(
            known[device], joint.domains, name=alias, vary=vary, usual=usual, **parts
        )
        cores = int(vary[1]) if vary is not None and vary[0] == "cores" else None
        check_target(known[device], question.target.runtime, question.target.threads, cores)
        predictor = joint.predictor(question)
    except ValueError as error:
        raise UnresolvedError(str(error)) from None
    notes = list(predictor.card["notes"])
    if own is not None and vary is None:
        notes.insert(0, f"the model of {device} is of {own}, and another target was asked for")
    basis: Basis = "measurements" if predictor.card["rows"] else "specification"
    return Resolved(name, predictor, basis, notes)


def by_joint_or_host(name: str, device: str, query: TargetQuery, own: Target | None) -> Resolved:
    """A device by the joint model, or by another x86 CPU's layer model where that knows more.

    On one thread that is so by the hosts' runtime, where nobody asks for one and nothing was
    measured by another: their models are off by 10 % on an EPYC Turin and 21 % on a Xeon, the joint
    model by ncnn by 9 – 90 %, 31 in the median of ten x86 CPUs that were left out. On several
    threads ncnn was measured (8 – 102 %, 28 in the median of eight); by ONNX Runtime only two
    were, which are off by 54 % where the CPU is left out.
    """
    found = by_joint(name, device, query, own, None, None)
    joint: Any = found.predictor
    is_free = query.runtime is None and own is None and found.basis == "specification"
    if is_free and joint.target.threads == 1 and joint.facts.get("isa_x86"):
        by_theirs = by_joint(name, device, query, None, None, None, _OF_HOSTS)
        if (known := by_host(by_theirs)) is not by_theirs:
            return known
    return by_host(found)


_OF_HOSTS = "onnxruntime"


def by_host(found: Resolved) -> Resolved:
    """The answer of a layer model of an x86 CPU, where nothing of this one was measured.

    That is another CPU's, or its own of another number of threads.

    Of ONNX Runtime and OpenVINO on such CPUs our campaigns know more than all public tables: by
    specification alone 61 real models on a Xeon were off by 56 and 38 %, by the models of the EPYC
    they are by 21 and 18. On more threads than these models were measured with they are as much
    faster as the joint model says that the network is, at most as many times as there are threads,
    so that one and several threads are answers of one model; intervals are at least the joint's.
    At another batch kernels are larger ones: at batch 8 104 networks on a
    Zen 5 are off by 17 and 12 % under 90 % intervals of a factor of 2.6 and 2.9, which held 95 and
    100 %; by specification by 25 and 20 % under intervals of a factor of 69 and 14.
    """
    joint: Any = found.predictor
    if joint.kind != "joint-target" or joint.target.device not in devices():
        return found
    target, device = joint.target, devices()[joint.target.device]
    asked = replace(target, runtime=public_runtime(target.runtime))
    hosts = [
        name
        for name in zoo.names("networks")
        if name not in zoo.of_joint() and _is_as(zoo.target(name, "networks"), asked)
    ]
    used = joint.facts.get("threads") or 1
    if found.basis == "measurements":
        # Of other settings of the chip: what its own model knows of fewer threads is nearer.
        hosts = [
            name
            for name in hosts
            if (own := zoo.target(name, "networks")).device == device.name
            and own.threads != used
            and not joint.is_measured
        ]
    if not hosts or not joint.facts.get("isa_x86"):
        return found
    # Of several that one which most networks were measured for.
    hosts.sort(key=lambda name: -zoo.header(name, "networks")["card"]["rows"])
    own, more = zoo.target(hosts[0], "networks"), None
    if used != own.threads:
        from .kernels import MoreThreads

        few_threads = TargetQuery(target.runtime, target.batch, target.precision, own.threads)
        few = by_joint(found.name, target.device, few_threads, None, None, None)
        more = MoreThreads(joint, few.predictor, used / own.threads)
    predictor = open_shipped(hosts[0], "networks").carried(device, asked, more)
    predictor.least_ms = joint.least_ms
    on_threads = f" on {used:g} threads" * (own.device == device.name)
    note = (
        f"no network was measured on {device.group} by {target.runtime}{on_threads}: the forecast "
        f"is by the model {hosts[0]}"
    )
    if own.device != device.name:
        note += ", as much faster or slower as the peaks of a core of both devices say"
    if more is not None:
        note += f", as much faster as {used:g} threads are than {own.threads} by specification"
    if own.batch != target.batch:
        note += f"; it was measured at batch {own.batch}"
    return replace(found, predictor=predictor, notes=[*found.notes[:-1], note])


def _is_as(own: Target, asked: Target) -> bool:
    """Whether a target of one of our hosts is as another, but for the device, batch and threads."""
    same = replace(own, device=asked.device, batch=asked.batch, threads=asked.threads)
    return bool(own.threads) and same == asked


def _no_layer_model(name: str, device: str, query: TargetQuery) -> str:
    """Return the message that there is no layer model of a name, with the remedy."""
    shipped = zoo.names("networks")
    if have := zoo.of_device(device, "networks"):
        targets = ", ".join(f"{n} ({zoo.target(n, 'networks')})" for n in have)
        return f"{name} must have a model of {query}; it has {targets}"
    if device not in devices() and name not in (*zoo.names(), *zoo.names("base")):
        return unknown_name("layer model or device", name, [*shipped, *devices()])
    listed = ", ".join(shipped[:MAX_LISTED])
    more = (
        f" and {counted(len(shipped) - MAX_LISTED, 'other')}" if len(shipped) > MAX_LISTED else ""
    )
    have_any = f"only {listed}{more} are (latcast models)" if shipped else "none is"
    return (
        f"no layer model is shipped for {name}, {have_any}: measure there and train one (latcast "
        "measure --population N, latcast train), or adapt another (latcast adapt)"
    )
