"""``latcast models``: the shipped models and their cards, and models on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from ._console import OUTPUT, Console, UsageError, argument, command, option, usage, write_text
from ._options import check_usable


@command
def models(
    console: Console,
    *,
    words: list[str] | None = argument(
        "One model, or a file, or hf://OWNER/NAME: show its card; or `push MODEL hf://OWNER/NAME`; "
        "or timm:, torchvision: or transformers:, and the start of a name: list networks.",
        None,
        metavar="[MODEL | push MODEL ADDRESS | PACKAGE:]",
    ),
    card: Path | None = option("Write its card as the Hub has it (README.md).", panel=OUTPUT),
    private: bool = option("Make a repository that only its owners see.", False, panel=OUTPUT),
) -> None:
    """List the shipped models, show one's card, or push one to the Hugging Face Hub.

    With the name of a package, such as timm:mobilenet, it lists the networks that predict takes.

    Example: latcast models rtx-2080-ti
    """
    from latcast.graph.read import is_named
    from latcast.models.overview import list_models

    is_push = words is not None and words[:1] == ["push"]
    if card is not None and (is_push or not words):
        raise UsageError("--card is of one model: name it, or leave out --card")
    if private and not is_push:
        raise UsageError("--private is of a repository that push makes: leave it out")
    match words or []:
        case ["push", model, address]:
            from latcast.models.hub import Address
            from latcast.models.publishing import push

            with usage():
                Address.parse(address)
            console.show(push(model, address, private=private))
        case ["push", *_]:
            raise UsageError("push needs a model and an address: push MODEL hf://OWNER/NAME")
        case []:
            console.show(list_models())
        case [name] if is_named(name):
            if card is not None:
                raise UsageError("--card is of a model: networks have none")
            from latcast.graph.read.names import NetworkNames

            with usage():
                networks = NetworkNames.of(name)
            console.show(networks)
        case [name]:
            _show(console, name, card)
        case names:
            raise UsageError(f"one model must be named; got {', '.join(names)}")


def _show(console: Console, name: str, card: Path | None) -> None:
    """A model's card, which is written as the Hub has it where that is asked for."""
    from latcast.models.hub import Address, is_address, is_file
    from latcast.models.overview import model_card

    if is_address(name):
        with usage():
            Address.parse(name)
    elif is_file(name):
        check_usable(Path(name))
    if is_file(name):
        found = model_card(name)
    else:
        with usage():
            found = model_card(name)
    if card is not None:
        from latcast.models.publishing import card_markdown

        write_text(card, card_markdown(found))
        console.note(f"wrote {card}")
    console.show(found)
