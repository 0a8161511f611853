"""Messages about names that are not known."""

from __future__ import annotations

from latcast._names import unknown_name

MANY = [f"name-{n}" for n in range(100)]


def test_few_are_all_listed() -> None:
    assert unknown_name("unit", "Metre", ["gram", "meter"]) == (
        "no unit is called 'Metre'; did you mean 'meter'? known: gram, meter"
    )
    assert unknown_name("unit", "?", ["gram"]) == "no unit is called '?'; known: gram"


def test_of_many_the_nearest_are_listed() -> None:
    message = unknown_name("unit", "name-9", [*MANY[10:], "other"])
    assert message.startswith("no unit is called 'name-9'; did you mean 'name-9")
    assert message.count("name-") == 6
    assert "known: 91 names, among them name-" in message
    assert unknown_name("unit", "?", MANY) == "no unit is called '?'; known: 100 names"


def test_of_many_the_command_that_lists_all_is_named() -> None:
    message = unknown_name("layer model or device", "?", MANY)
    assert message.endswith("known: 100 names (latcast devices and latcast models show all)")
    assert unknown_name("device", "?", MANY).endswith("names (latcast devices shows all)")
    message = unknown_name("network of timm", "?", MANY)
    assert message.endswith("known: 100 names (latcast models timm: shows all)")


def test_the_beginning_of_a_name_counts_most() -> None:
    known = ["rtx-4080", "rtx-3080", "rtx-2080-ti"]
    assert "did you mean 'rtx-2080-ti'?" in unknown_name("device", "rtx-2080", known)


def test_a_part_of_a_name_counts_more_than_likeness() -> None:
    message = unknown_name("device", "p40", ["a40", "l40s", "tesla-p40"])
    assert "did you mean 'tesla-p40'?" in message
    assert "did you mean 'fp16'?" in unknown_name("precision", "f16", ["fp32", "fp16", "bf16"])


def test_a_name_is_known_without_its_hyphens() -> None:
    known = ["pixel-4", "help-raspi4", "raspberry-pi-4-videocore-vi", "raspberry-pi-4"]
    for given in ("pi4", "Raspberry Pi 4", "raspberrypi4"):
        assert "did you mean 'raspberry-pi-4'?" in unknown_name("device", given, known)


def test_a_file_of_devices_in_a_devices_place_is_told_where_it_goes() -> None:
    message = unknown_name("layer model or device", "my/boards.TOML", ["pixel-7"])
    assert "'my/boards.TOML': a file of devices is given with --devices" in message
    assert "did you mean" in unknown_name("space", "ofa.toml", ["ofa-toml"])
