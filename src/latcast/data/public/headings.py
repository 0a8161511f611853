"""Devices and chips by the text of a table's heading: rows of one chip are of one device.

People write such headings by hand: ``Kirin 970 (Cortex-A73 2.4GHz x 4 + Cortex-A53 1.8GHz x 4)``,
``Hyper-V Linux Guest (Intel Core i7-11800H, NVIDIA GeForce RTX 3070 Laptop GPU)``. Any text gives a
:class:`Machine`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from latcast.devices import Chip, Device, chip_of, devices


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that a heading names.

    Attributes:
        chip: key of the processor or SoC, such as ``rk3588``; of the card where it names no
            processor, and of the text before brackets where it names no chip that is known.
        cards: keys of graphics cards, such as ``rtx-3070-laptop``, in the order of the text. The
            GPU inside of an SoC is no card.
        chips: keys of all processors and cards; where there are two, the rows of the heading
            belong to several machines.
    """

    chip: str
    cards: tuple[str, ...]
    chips: tuple[str, ...]


# Kind of chip -> how makers name it. Two names of one kind are two machines.
_PROCESSORS = {
    "jetson": r"jetson[ -](?:agx[ -](?:orin|xavier|thor)|orin[ -](?:nano|nx)|xavier[ -]nx"
    r"|tx\d(?:[ -]nx)?|nano|thor)",
    "qualcomm": r"\b(?:sm|sdm|msm|apq|qcs|qrb|qcm|sc|sa)\d{4}p?",
    "snapdragon": r"snapdragon (?:x\w* (?:elite|plus)|\d elite(?: gen \d)?|\d\w?\+? gen \d"
    r"|\d{3,4}\w?\+?)",
    "dragonwing": r"dragonwing (?:iq|q)-\d{4}|dragonwing rb\d gen \d",
    "rockchip": r"\brk\d{4}",
    "broadcom": r"\bbcm\d{4}",
    "kirin": r"\bkirin \d{3,4}\w?",
    "mediatek": r"\bmt\d{4}",
    "dimensity": r"\bdimensity \d+|\bhelio \w\d+",
    "exynos": r"\bexynos \d+",
    "amlogic": r"\bamlogic \w+",
    "allwinner": r"\ballwinner \w+\+?",
    "nxp": r"\bi\.?mx ?\d\w*",
    "apple": r"\b(?:apple|macbook|mac mini|mac studio|imac|ipad)\b.*?"
    r"\b(m\d(?: (?:pro|max|ultra))?)\b|\ba\d{2}x? (?:bionic|fusion|pro)",
    "loongson": r"\bloongson \w+",
    "phytium": r"\bphytium (?:ft-\d+\+?(?:/\d+)?|[a-z]\d+)",
    "kunpeng": r"\bkunpeng \d+",
    "riscv": r"\bth1520|\bsg\d{4}|\bjh7110|\bspacemit [mk]\d",
    "axera": r"\bax\d{3}\w?",
    "ingenic": r"\bt\d{2}[a-z]{1,2}\b",
    "renesas": r"\brz/?\w+",
    "zynq": r"\bxc7z\d+",
    "hisilicon": r"\bhi\d{4}\w*",
    "sunway": r"\bsw\d{3}\b",
    "tegra": r"\btegra \w+",
    "google": r"\btensor g\d",
    "xeon phi": r"\bxeon phi \w+",
    "xeon": r"\bxeon (?:(?:gold|silver|platinum|bronze|w|e\d?)[ -]?)?\w?-?\d{4}\w*(?: v\d)?",
    "core": r"\bcore i\d[ -]\d+\w*|\bi\d[ _-]\d{4,5}\w*|\bcore ultra \d \d+\w*",
    "atom": r"\b(?:celeron|pentium|atom) (?:\w+[ -])?\w?\d+\w*"
    r"|\bintel (?:processor )?[nj]\d{2,4}\b",
    "epyc": r"\bepyc \w*\d\w*",
    "ryzen": r"\bryzen (?:(?:threadripper|embedded|ai|pro|\d) )*\w*\d{3,4}\w*",
    "cloud": r"\bgraviton ?\d|\bampere altra|\bstandard \w+ v\d|\b[acmrt]\d\w*\.\w*large",
}
_CARDS = {
    "nvidia": r"\b(?:rtx|gtx|quadro|titan|geforce) ?(?:pro )?(?:rtx ?)?[a-z]?\d{3,4}"
    r"(?: ?(?:ti|super|xt|ada|max-?q|blackwell))*(?: laptop| of notebook)?",
    "datacenter": r"(?<![\w-])(?<!core )(?:a(?:2|10g?|16|30|40|100)|b[12]00|h[128]00|k80|l4|l40s?"
    r"|m[46]0|p4|p40|p100|t4|v100)(?![\w.])",
    "amd": r"\bradeon (?:rx|pro|vii)(?: \w*\d\w*)?(?: xtx?)?|\binstinct mi\d+x?",
    "intel": r"\barc \w\d+m?|\buhd graphics \d+|\biris \w+(?: graphics)?(?: \d+)?",
}
# A chip's name in trade -> kinds that name it more exactly, whose key is taken where there is one.
_EXACT = {
    "snapdragon": ("qualcomm",), "dragonwing": ("qualcomm",), "dimensity": ("mediatek",),
    "hisilicon": ("kirin",),
}  # fmt: skip

# What is left of a name, so that one chip has one key however it is written.
_SPELLINGS = (
    (r"^(?:geforce|nvidia|tesla|allwinner|amlogic|amd|intel|standard) ", ""),
    (r"^(rtx|gtx) ?(?=[a-z]?\d)", r"\1 "),
    (r"(?<=\d)(?=(?:ti|super)\b)", " "),
    (r" of notebook$", " laptop"),
    (r"^i(?=\d[ -])", "core i"),
    (r"^(?=m\d\b)", "apple "),
)

# Cores and clocks of a card: ``GA102 SM x 82 + Tensor Core 328``, ``iGPU@1.3 GHz``.
_CARD_CORES = re.compile(r"tensor cores?|gpu ?@? ?[\d.]+ ?[gm]hz")

# timm's settings name cards without their maker's letters.
_TIMM = {"4090": "rtx 4090", "pro6000maxq": "rtx pro 6000 max-q"}


@lru_cache(maxsize=4096)
def parse_heading(heading: str) -> Machine:
    """Parse the machine that a heading names; every text is accepted."""
    text = _plain(heading)
    processors = _found(_PROCESSORS, text)
    cards = _found(_CARDS, text)
    for trade, exact in _EXACT.items():
        if any(kind in processors for kind in exact):
            processors.pop(trade, None)
    if processors and not re.search("nvidia|tesla", text):
        cards.pop("datacenter", None)  # ``Huawei P40 (Kirin 990)`` is a phone
    if "jetson" in processors:
        cards = {}
    keys = [key for found in (processors, cards) for each in found.values() for key in each]
    chips = [key for each in processors.values() for key in each]
    named = [key for each in cards.values() for key in each]
    whole = slug(re.split(r"[(\[,]", text)[0]) or slug(text) or "unknown"
    # Cores beside a card, as in ``2.6GHz six cores Intel Core i7 && Radeon Pro``, are no card's.
    processor = re.search(r"\d\s*[gm]hz|\bcores?\b", _CARD_CORES.sub(" ", text))
    return Machine(
        chips[0] if chips else (named[0] if named and not processor else whole),
        tuple(named),
        tuple(dict.fromkeys(keys)),
    )


def slug(text: str) -> str:
    """A name in lower-case letters, digits, dots and dashes, as devices have."""
    return re.sub(r"[^a-z0-9.]+", "-", _plain(text)).strip("-.")


def _plain(text: str) -> str:
    """Lower case, plain dashes and times signs, no trade marks, single spaces."""
    text = unicodedata.normalize("NFKC", re.sub("[®™©]", "", text)).lower()
    text = re.sub("[‐-―−]", "-", text).replace("×", "x")
    return re.sub(r"[\s_]+", " ", text.replace("sw_64", "sw64")).strip()


def _found(patterns: dict[str, str], text: str) -> dict[str, list[str]]:
    """Kind of chip -> distinct keys of the chips of that kind, in the order of the text."""
    found: dict[str, list[str]] = {}
    for kind, pattern in patterns.items():
        keys = [_key(match) for match in re.finditer(pattern, text)]
        if keys:
            found[kind] = list(dict.fromkeys(keys))
    return found


def _key(match: re.Match[str]) -> str:
    name = (match[1] if match.re.groups and match[1] else match[0]).strip()
    for spelling, key in _SPELLINGS:
        name = re.sub(spelling, key, name)
    return slug(name)


class Identity(NamedTuple):
    """The device and runtime of a heading's rows.

    Attributes:
        device: name of the device.
        chip: key of its chip.
        found: the device with what is known of it, at the clocks that the heading states; None
            where nothing is.
    """

    device: str
    chip: str
    found: Device | None


def identify(table: str, heading: str, part: str, index: int = 0) -> Identity:
    """Device and chip that a heading's rows were run on; no text is refused.

    They are the catalogue's (:func:`latcast.devices.chip_of`) where it knows the heading, else the
    key of the chip that the text names. Cards beside a processor are its GPUs 0, 1 …; the one
    after them is inside of the processor (of the i7-11800H with an RTX 3070, GPU 1 takes 2.2 times
    as long for VGG-16).

    Args:
        table: name of the table.
        heading: how the table calls the device.
        part: ``cpu``, ``gpu`` or ``npu``.
        index: which GPU of several.
    """
    machine = parse_heading(_TIMM.get(heading, heading) if table == "timm" else heading)
    if part == "gpu" and machine.chip not in machine.cards and 0 < len(machine.cards) <= index:
        whole = identify(table, heading, "cpu")
        inside = _in_catalogue("ncnn", machine.chip, part, 0)
        name = whole.device if inside is None else inside.device.name
        return Identity(name, whole.chip, None if inside is None else inside.device)
    chip = (machine.cards[: index + 1] or (machine.chip,))[-1] if part == "gpu" else machine.chip
    found = _in_catalogue(table, heading, part, index) or _in_catalogue("ncnn", chip, part, 0)
    if found is None and chip in machine.cards and (card := _card(chip, heading)):
        return Identity(card.name, card.group, card)
    return _identity(chip, found)


def _identity(key: str, found: Chip | None) -> Identity:
    """The catalogue's device and chip; of one that it lacks, the key for both."""
    if found is None:
        return Identity(key, key, None)
    # Of a heading that it lacks, the catalogue may give a device that is alike, or its cores alone.
    is_known = found.device.name in devices() and found.group == found.device.group
    return Identity(*(found.device.name, found.group) if is_known else (key, key), found.device)


def _card(key: str, heading: str) -> Device | None:
    """The card of the catalogue with most of the heading's words, of those that are called so."""
    words = set(slug(heading).split("-"))
    called = [d for d in devices().values() if f"-{key}-" in f"-{d.name}-"]
    ranked = sorted(called, key=lambda d: (-len(words & set(d.name.split("-"))), len(d.name)))
    return ranked[0] if ranked else None


def _in_catalogue(table: str, heading: str, part: str, index: int) -> Chip | None:
    if table == "timm":  # whose settings are the headings: parts between dashes, the device last
        heading = f"-{part}-{heading.replace('-', '_')}"
    for place in dict.fromkeys((index, 0)):  # a second GPU may be the only one that is named
        try:
            return chip_of(table, heading, part, place)
        except ValueError:
            continue
    return None
