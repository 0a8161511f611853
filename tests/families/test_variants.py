"""Variants as text, and populations of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latcast.families import (
    Variant,
    _population,
    family,
    family_names,
    population,
)

TEXT = (
    "vit(patch=16,width=192,depth=2,head=64,expand=4,native_gelu=1,native_norm=0,"
    "resolution=96,classes=10)"
)


@st.composite
def variants(draw):
    source = family(draw(st.sampled_from(family_names())))
    chosen = {k: draw(st.sampled_from(v)) for k, v in source.parameters.items()}
    return Variant(source.name, chosen)


@pytest.mark.slow
@given(variants(), st.randoms())
def test_text_round_trip(variant, random):
    again = Variant.parse(variant.text)
    assert again == variant
    assert hash(again) == hash(variant)
    assert again.text == variant.text
    shuffled = list(variant.parameters.items())
    random.shuffle(shuffled)
    assert Variant(variant.family, dict(shuffled)).text == variant.text
    spaced = ", ".join(f"{k} = {v}" for k, v in shuffled)
    assert Variant.parse(f" {variant.family}({spaced}) ") == variant


def test_text_names_family_and_parameters():
    variant = Variant.parse(TEXT)
    assert variant.text == str(variant) == TEXT
    assert variant.family == "vit"
    assert variant.parameters["width"] == 192
    with pytest.raises(dataclasses.FrozenInstanceError):
        variant.family = "vgg"


def test_published_name_is_a_text():
    variant = Variant.parse("resnet-50")
    assert variant.family == "resnet"
    assert variant.parameters == family("resnet").published["resnet-50"]
    assert Variant.parse(variant.text) == variant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnett(depth=1)", "no family is called 'resnett'; did you mean 'resnet'"),
        ("resnet-51", "no published network is called 'resnet-51'; did you mean"),
        ("nb201(arch=1)", "nb201 needs a value of classes: 10"),
        ("nb201()", "nb201 needs a value of arch"),
        ("nb201(arch=1,classes=11)", "nb201: classes must be one of 10; got 11"),
        ("nb201(arch=1000000,classes=10)", "arch must be one of 0 … 999999; got 1000000"),
        ("nb201(arch=1,classes=10,x=1)", "nb201 has no parameter 'x'; known: arch, classes"),
        ("nb201(arch=1,arch=2,classes=10)", "once each .*got 'arch=2'"),
        ("nb201(arch=-1,classes=10)", "with a whole number; got 'arch=-1'"),
        ("nb201(arch=1.0,classes=10)", "with a whole number"),
        ("nb201(arch,classes=10)", "with a whole number; got 'arch'"),
        ("nb201(arch=9999999999999999999999,classes=10)", "with a whole number"),
        ("nb201(arch=1", "FAMILY\\(NAME=VALUE,…\\)"),
        ("", "FAMILY\\(NAME=VALUE,…\\)"),
    ],
)
def test_wrong_texts_are_told(text, message):
    with pytest.raises(ValueError, match=message):
        Variant.parse(text)


def test_wrong_parameters_are_told():
    with pytest.raises(ValueError, match="no family is called 'vitt'"):
        Variant("vitt", {})
    with pytest.raises(ValueError, match="width must be one of"):
        Variant("vit", {**Variant.parse(TEXT).parameters, "width": 193})


def test_wrong_batch_is_told():
    with pytest.raises(ValueError, match="batch must be at least 1; got 0"):
        Variant.parse(TEXT).to_onnx(batch=0)


FAST = ["vgg", "mobilenet-v1", "squeezenet"]


def test_population_is_balanced_distinct_and_the_same_again():
    found = population(20, seed=3, families=FAST)
    assert found == population(20, seed=3, families=FAST)
    assert len(set(found)) == 20
    assert [m.family for m in found] == [FAST[i % 3] for i in range(20)]
    assert found != population(20, seed=4, families=FAST)


def test_population_of_one_family_is_part_of_that_of_all():
    alone = population(5, seed=3, families=["vgg"])
    assert [m for m in population(15, seed=3, families=FAST) if m.family == "vgg"] == alone
    assert population(9, seed=3, families=FAST) == population(15, seed=3, families=FAST)[:9]


def test_population_has_small_and_large_networks():
    macs = [variant.graph().macs for variant in population(40, families=["vgg"])]
    assert np.quantile(macs, 0.9) > 10 * np.quantile(macs, 0.1)


@pytest.mark.parametrize(
    ("n", "families", "message"),
    [
        (-1, None, "at least 0; got -1"),
        (3, [], "at least one family; got none"),
        (3, ["vggg"], "no family is called 'vggg'"),
    ],
)
def test_wrong_populations_are_told(n, families, message):
    with pytest.raises(ValueError, match=message):
        population(n, families=families)


def test_empty_population():
    assert population(0) == []
    assert population(0, families=[]) == []


def test_family_with_too_few_members_is_told(monkeypatch):
    few = {k: v[:1] for k, v in family("vgg").parameters.items()}
    monkeypatch.setattr(type(family("vgg")), "parameters", few)
    monkeypatch.setattr(_population, "_TRIES", 20)
    with pytest.raises(ValueError, match=r"vgg must have 2 variants .* found 1: ask for fewer"):
        population(2, families=["vgg"])
