"""Targets: what a latency belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True, slots=True)
class Target:
    """Device, runtime, batch size, precision and threads.

    Latencies of different targets are never mixed: compare targets with ``==``.

    Args:
        device: name of the device in lower case, such as ``samsung-note10``.
        runtime: what ran the network, such as ``pytorch``; ``lookup-table`` for sums of one.
        batch: networks are timed on this many samples at once, at least 1.
        precision: one of :data:`PRECISIONS`.
        threads: number of CPU threads; 0 where it is unknown or does not apply.

    Raises:
        ValueError: a part is not of that form.
    """

    device: str
    runtime: str
    batch: int = 1
    precision: str = "fp32"
    threads: int = 0

    def __post_init__(self) -> None:
        for part in ("device", "runtime"):
            value = getattr(self, part)
            if not isinstance(value, str) or not NAME.fullmatch(value):
                raise ValueError(
                    f"a target's {part} must be lower-case letters, digits, '.', '+' or '-'; "
                    f"got {value!r}"
                )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"a target's precision must be one of {', '.join(PRECISIONS)}; "
                f"got {self.precision!r}"
            )
        for part, least in (("batch", 1), ("threads", 0)):
            value = getattr(self, part)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"a target's {part} must be an integer of at least {least}; got {value!r}"
                )

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``DEVICE/RUNTIME/bBATCH[/PRECISION][/tTHREADS]``, the form of ``str(target)``.

        Raises:
            ValueError: the text is not of that form.
        """
        device, *rest = text.split("/")
        if not rest:
            raise ValueError(_form(text))
        runtime, *rest = rest
        fields: dict[str, int | str] = {}
        for part in rest:
            if match := re.fullmatch(r"([bt])(\d{1,9})", part):
                key = {"b": "batch", "t": "threads"}[match[1]]
            else:
                key = "precision"
            if key in fields:
                raise ValueError(_form(text))
            fields[key] = int(match[2]) if match else part
        return cls(device, runtime, **fields)  # type: ignore[arg-type]  # checked on creation

    def __str__(self) -> str:
        text = f"{self.device}/{self.runtime}/b{self.batch}"
        if self.precision != "fp32":
            text += f"/{self.precision}"
        if self.threads:
            text += f"/t{self.threads}"
        return text


def _form(text: str) -> str:
    return (
        "a target must be written DEVICE/RUNTIME/bBATCH[/PRECISION][/tTHREADS], "
        f"such as samsung-note10/lookup-table/b1; got {text!r}"
    )
