from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.devices import PRECISIONS, Target, device, parse_catalogue

NAMES = st.from_regex(r"[a-z0-9][a-z0-9.+-]{0,12}", fullmatch=True)


@given(NAMES, NAMES, st.integers(1, 10**6), st.sampled_from(PRECISIONS), st.integers(0, 256))
def test_target_text_round_trip(
    name: str, runtime: str, batch: int, precision: str, threads: int
) -> None:
    target = Target(name, runtime, batch, precision, threads)
    assert Target.parse(str(target)) == target


def test_target_in_words() -> None:
    assert Target.parse("samsung-note10/lookup-table/b1") == Target(
        "samsung-note10", "lookup-table"
    )
    assert str(Target("a", "b", 8, "bf16", 2)) == "a/b/b8/bf16/t2"


@pytest.mark.parametrize(
    "text", ["", "a", "a/", "/b", "A/b/b1", "a/b/b0", "a/b/b1/b2", "a/b/fp7", "a/b/b1/fp32/bf16"]
)
def test_bad_target_text(text: str) -> None:
    with pytest.raises(ValueError, match="a target"):
        Target.parse(text)


def test_targets_differ_in_every_part() -> None:
    base = Target("a", "b", 8, "bf16", 2)
    other = {"device": "x", "runtime": "x", "batch": 1, "precision": "fp32", "threads": 1}
    assert all(base != replace(base, **{name: value}) for name, value in other.items())


GOOD = 'title="T"\nkind="gpu"\ncores=1\nmemory_gb=1\nbandwidth_gb_s=10\nsource="s"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x", "must be TOML"),
        ("x = 1", r"device 'x' must be a table, \[x\]; got 1"),
        (
            f"[x]\n{GOOD}power = 3",
            "no entry of device 'x' is called 'power'; did you mean 'power_w'",
        ),
        (f"[x.y]\n{GOOD}", r'a name with a dot must be quoted: \["x.y"\]'),
        (f"[X]\n{GOOD}", "a device's name must be lower-case letters.*got 'X'"),
        ("[x]\ntitle = 'T'", "must have kind, cores, memory_gb, bandwidth_gb_s, source as well"),
        (f"[x]\n{GOOD}".replace("cores=1", "cores=0"), "x: cores must be a whole number of cores"),
        ("x = " + "[" * 10_000, "must be TOML"),
        (f"[x]\n{GOOD}".replace('"gpu"', '"toaster"'), "kind must be one of cpu, gpu"),
    ],
)
def test_bad_catalogue(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_catalogue(text)


def test_unknown_device() -> None:
    with pytest.raises(ValueError, match="did you mean 'titan-rtx'") as caught:
        device("titanrtx")
    assert len(str(caught.value)) < 300  # not all that there are
    with pytest.raises(ValueError, match=r"latcast devices shows all"):
        device("???")


def test_peak_by_precision() -> None:
    found = device("rtx-2080-ti")
    assert [found.peak_flops(p) for p in PRECISIONS] == [13.45e12, 107.6e12, None, 215.2e12]
    with pytest.raises(ValueError, match="did you mean 'fp16'"):
        found.peak_flops("f16")
