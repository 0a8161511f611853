"""Devices by the words that public tables use for them.

Headings that were seen are looked up in a table (``headings.toml``), which names the devices of
the CPU and of each GPU. Others are read: clusters of cores ("Cortex-A73 2.4GHz x 4 + ..."), then
names and codes of chips that the catalogue has.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache
from importlib import resources
from typing import Any

from latcast._names import unknown_name

from ._catalogue import device, devices
from ._cores import Cluster, cores
from ._device import NAME, Device
from ._facts import UNITS, unit

TABLES = ("ncnn", "timm", "ai_hub", "neusight", "tinynas")
"""The public tables."""

# Tables whose headings name the one device that ran; of others, they name a chip with its parts.
_ONE_DEVICE = ("timm", "neusight", "tinynas")


@dataclass(frozen=True, slots=True)
class Chip:
    """The chip that a heading names.

    Attributes:
        device: the CPU, GPU or NPU; its clocks are those of the heading where it states them.
        group: name of its chip: headings of one group are known or left out together.
        notes: what is doubtful about it, in sentences.
    """

    device: Device
    group: str
    notes: tuple[str, ...] = ()


def chip_of(table: str, heading: str, part: str = "cpu", index: int = 0) -> Chip:
    """The device that a heading of a public table speaks of, and the chip that it is built on.

    Args:
        table: one of :data:`TABLES`.
        heading: the column ``device``; of ``timm`` the setting; of ``tinynas`` anything.
        part: one of :data:`~latcast.devices.UNITS`. Tables of GPUs alone, and headings of one
            GPU alone, take none.
        index: which GPU of several.

    Raises:
        ValueError: a name is not known, or no device can be told from the heading.
    """
    if table not in TABLES:
        raise ValueError(unknown_name("public table", table, TABLES))
    if part not in UNITS:
        raise ValueError(unknown_name("unit", part, UNITS))
    key = _key(table, heading)
    row = _headings()[table].get(key)
    if row is None:
        return _read(table, key, heading, part)
    if isinstance(row, str):
        found = device(row) if table in _ONE_DEVICE else unit(device(row), part)
        return Chip(_clocked(found, heading), found.group)
    part = "gpu" if table in _ONE_DEVICE else part
    names = row.get(part, [])
    names = [names] * (index + 1) if isinstance(names, str) else names  # the only one of its kind
    if index >= len(names):
        raise ValueError(
            f"the heading {heading!r} must name a {part} of index {index}; it names {len(names)}"
        )
    found = device(names[index])
    return Chip(_clocked(found, heading), found.group, (row["note"],) if "note" in row else ())


def _key(table: str, heading: str) -> str:
    """Return the key by which a table's heading is looked up."""
    if table == "tinynas":
        return "v100"
    if table == "timm":  # precision, layout, versions, then the device
        return next((p for p in reversed(heading.split("-")) if p != "dynamo"), heading)
    return heading.replace("_", " ") if table == "neusight" else heading


@lru_cache(maxsize=1)
def _headings() -> dict[str, dict[str, Any]]:
    text = (resources.files("latcast.devices") / "headings.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _clocked(found: Device, heading: str) -> Device:
    """A device with the clocks that a heading states, if it has the same cores, held at one clock.

    Of cores with a boost, a heading may state either clock.
    """
    read = parse_clusters(heading)
    same = [(c.core, c.count) for c in read] == [(c.core, c.count) for c in found.clusters]
    if not read or not same or any(c.base_ghz is not None for c in found.clusters):
        return found
    return replace(found, clusters=read, clock_ghz=max(c.clock_ghz for c in read))


# Instructions that software may be built without -> cores that have none of these.
_WITHOUT = {
    "avx512": "generic-x86-avx2", "avx2": "generic-x86-avx", "avx": "generic-x86",
    "msa": "generic-mips", "rvv": "generic-riscv",
}  # fmt: skip


def as_built(found: Device, text: str) -> Device:
    """A CPU as software uses it that was built without some instructions, as a text says.

    Such as ``Results (Without AVX512)``, or ``Xburst2 (without MSA)``. Cores that have none of them
    stay as they are, and so do caches and clocks.
    """
    for name in re.findall(r"\bwithout\s+(\w+)", text.lower()):
        if name not in _WITHOUT or not any(
            name in cores()[c.core].features for c in found.clusters
        ):
            continue
        first = cores()[found.clusters[0].core]
        found = replace(
            found,
            clusters=tuple(
                replace(c, core=_WITHOUT[name]) if name in cores()[c.core].features else c
                for c in found.clusters
            ),
            l1d_kb=found.l1d_kb or first.l1d_kb,
            l2_kb=found.l2_kb or first.l2_kb,
        )
    return found


def _read(table: str, key: str, heading: str, part: str) -> Chip:
    """A heading that was never seen: by the names that it contains, else by the cores it states."""
    alone = table in _ONE_DEVICE
    best = named_device(key, gpu=alone or part == "gpu")
    if best is not None and (alone or (best.kind == "gpu") <= (part == "gpu")):
        with suppress(ValueError):  # a chip of which that part is not known
            found = best if alone else unit(best, part)
            return Chip(_clocked(found, heading), found.group)
    if part == "cpu" and (clusters := parse_clusters(heading)):
        return _of_clusters(heading, clusters)
    if alike := _alike(key, "gpu" if alone and "-cpu-" not in heading else part):
        note = f"not in the catalogue; taken to be like {alike.name}, whose name is most alike"
        return Chip(alike, _slug(heading), (note,))
    raise ValueError(
        f"no {part} is known from the heading {heading!r}: write the device into a file of your "
        "own (docs/devices.md), with a title that the heading contains"
    )


# Of two names' letters and digits, the share that must be alike: "i7-4790" is like "i7-4790K".
_ALIKE = 0.85


def _alike(text: str, part: str) -> Device | None:
    """The CPU or GPU that is called most alike, for models of a series that is known."""
    kinds = ("cpu",) if part == "cpu" else ("gpu",) if part == "gpu" else ()
    words = re.sub(r" (?:cpu|gpu|of) .*| \d+ core .*", "", _words(text))
    scored = [
        (SequenceMatcher(None, phrase, words).ratio(), d)
        for d in devices().values()
        if d.kind in kinds
        for phrase in _phrases(d)
    ]
    score, best = max(scored, key=lambda item: item[0], default=(0.0, None))
    return best if score >= _ALIKE else None


def _slug(heading: str) -> str:
    name = re.sub(r"[^a-z0-9.]+", "-", heading.lower()).strip("-.")[:60].strip("-.")
    return name if NAME.fullmatch(name) else "unknown"


def _of_clusters(heading: str, clusters: tuple[Cluster, ...]) -> Chip:
    """A device of the cores that a heading states; its memory is that of the most alike one."""
    fastest = max(clusters, key=lambda c: c.peak_flops("fp32"))

    def distance(other: Device) -> tuple[bool, float]:
        best = max(other.clusters, key=lambda c: c.peak_flops("fp32"))
        return best.core != fastest.core, abs(best.clock_ghz - fastest.clock_ghz)

    alike = min((d for d in devices().values() if d.clusters), key=distance)
    found = Device(
        _slug(heading),
        heading,
        kind="cpu",
        cores=sum(c.count for c in clusters),
        memory_gb=alike.memory_gb,
        bandwidth_gb_s=alike.bandwidth_gb_s,
        source=f"cores and clocks as the heading states them; memory as in {alike.name}",
        clock_ghz=max(c.clock_ghz for c in clusters),
        memory_type=alike.memory_type,
        year=alike.year,
        clusters=clusters,
    )
    note = f"not in the catalogue; its memory is assumed to be that of {alike.name}"
    return Chip(found, found.name, (note,))


# --- names of chips in a text -------------------------------------------------------------------


def named_device(text: str, *, gpu: bool = False) -> Device | None:
    """The device of the catalogue whose name, title or code the text contains; the longest counts.

    Words are compared in lower case and without marks between letters and digits: "RTX3090",
    "RTX-3090" and "GeForce RTX 3090" are one. Of equal lengths, the one that is called so counts
    before those that have it in parentheses, then a GPU last, unless ``gpu``.
    """
    words = _words(text)
    best, found = (0, False, False), None
    for candidate in devices().values():
        own = _words(candidate.name)
        for phrase in _phrases(candidate):
            rank = (len(phrase), phrase == own, (candidate.kind == "gpu") == gpu)
            if rank > best and f" {phrase} " in f" {words} ":
                best, found = rank, candidate
    return found


def _words(text: str) -> str:
    """Lower-case words of letters or digits, split where one turns into the other."""
    text = re.sub(r"[®™]|\((?:r|tm)\)", " ", text.lower()).replace("‑", "-")
    return " ".join(re.findall(r"[a-z]+|\d+", text.replace("+", " plus ")))


# Makers, whose names a heading may leave out.
_MAKERS = re.compile(
    r"^(?:nvidia|amd|intel|qualcomm|apple|samsung|google|hisilicon|mediatek|amlogic|huawei"
    r"|xiaomi|geforce|radeon|instinct|core|\s)+ (?=\S)"
)


def _phrases(found: Device) -> Iterator[str]:
    """Yield a device's names: its name, its title without the maker, codes in parentheses."""
    title, *codes = re.split(r"[(),/]", found.title)
    for text in (found.name, title, *codes):
        words = _words(text)
        for phrase in (words, _MAKERS.sub("", words)):
            # A number alone, a word of letters alone ("max") or a size of memory tells no device.
            mixed = re.search(r"\d", phrase) and re.search(r"[a-z]", phrase) and len(phrase) > 3
            if mixed and not re.fullmatch(r"\d+ (?:gb|cores?|threads?|eus?.*)", phrase):
                yield phrase


# --- clusters of cores in a text ----------------------------------------------------------------

_NUMBER = r"(\d+(?:\.\d+)?)\s*"
_CLOCK = re.compile(rf"(?<![\w.]){_NUMBER}(ghz|mhz)", re.IGNORECASE)
_COUNTS = (
    re.compile(r"(?<![\w-])[x×*]\s*(\d+)\b", re.IGNORECASE),
    re.compile(r"(?<![\w.-])(\d+)\s*[x×*](?!\w)", re.IGNORECASE),
    re.compile(r"\b(\d+)[\s-]*cores?\b", re.IGNORECASE),
)
_COUNT_WORDS = {"single": 1, "dual": 2, "quad": 4, "hexa": 6, "six": 6, "octa": 8, "eight": 8}
# Qualcomm's names for Arm's cores, by the letters and digits of "Kryo 260 gold"; ncnn's headings
# write "Kyro" and no gold, of which the faster cluster is.
_KRYO = {
    "260": ("cortex-a73", "cortex-a53"), "280": ("cortex-a73", "cortex-a53"),
    "360": ("cortex-a75", "cortex-a55"), "385": ("cortex-a75", "cortex-a55"),
    "460": ("cortex-a76", "cortex-a55"), "465": ("cortex-a76", "cortex-a55"),
    "468": ("cortex-a76", "cortex-a55"), "470": ("cortex-a76", "cortex-a55"),
    "475": ("cortex-a76", "cortex-a55"), "485": ("cortex-a76", "cortex-a55"),
    "495": ("cortex-a76", "cortex-a55"), "560": ("cortex-a77", "cortex-a55"),
    "570": ("cortex-a77", "cortex-a55"), "585": ("cortex-a77", "cortex-a55"),
    "660": ("cortex-a78", "cortex-a55"), "670": ("cortex-a78", "cortex-a55"),
    "680": ("cortex-x1", "cortex-a55"),
}  # fmt: skip


@lru_cache(maxsize=1024)
def parse_clusters(text: str) -> tuple[Cluster, ...]:
    """Clusters of cores that a heading states, such as ``Cortex-A73 2.4GHz x 4 + ...``.

    A part between plus signs is a cluster where it names a type of core that is known and a
    clock; a count that is missing is one. Empty where nothing is stated.
    """
    found: list[Cluster] = []
    names: tuple[str, ...] = ()
    for part in re.split(r"[+|;]|,(?=\s*(?:Cortex|Kryo|Kyro|A\d))", text.replace("‑", "-")):
        clock = _CLOCK.search(part)
        bare = _CLOCK.sub(" ", part)
        named = _core_names(bare)
        # "Kryo 2.96 GHz + 2.42 GHz x 3": a part of a clock and a count alone is of the type before.
        if clock is None or not (named or re.fullmatch(r"[\s\d()x×*~]*", bare)):
            continue
        names = named or names
        ghz = float(clock[1]) / (1000 if clock[2].lower() == "mhz" else 1)
        if names and 0.01 <= ghz <= 10:
            # Of Kryo's two types, the slower one ends the list, below 2 GHz but for the newest.
            slower = len(names) > 1 and ghz < 2 and any(c.clock_ghz > ghz for c in found)
            found.append(Cluster(names[slower], _count(bare), ghz))
    return tuple(found)


def _count(bare: str) -> int:
    for pattern in _COUNTS:
        if match := pattern.search(bare):
            return max(int(match[1]), 1)
    words = re.findall(r"[a-z]+", bare.lower())
    return next((_COUNT_WORDS[w] for w in words if w in _COUNT_WORDS), 1)


def _core_names(bare: str) -> tuple[str, ...]:
    """Types of cores that a part of a heading may mean; empty where it names none."""
    if match := re.search(r"k(?:ry|yr)o\s*-?(\d{3})", bare, re.IGNORECASE):
        return _KRYO.get(match[1], ())
    words = f" {_words(bare)} "
    names = [n for n in cores() if f" {_words(n)} " in words]
    if not names and (match := re.search(r"\bA(\d{1,3})(AE)?\b", bare)):
        names = [n for n in (f"cortex-a{match[1]}{(match[2] or '').lower()}",) if n in cores()]
    return (max(names, key=len),) if names else ()
