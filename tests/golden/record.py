"""Record what latcast answers: ``python tests/golden/record.py [NAME ...]``.

All records, or those whose names match one of the globs, are made anew by the latcast that is
installed (or on ``PYTHONPATH``) and written to ``data/``; the others stay as they are. They guard
numbers and keys: recording is for new cases, and for a change that is meant and told in the
changelog. On a machine that rounds otherwise all of them must be made anew together. A change that
another follows soon may stand in ``deliberate.py`` until then.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from cases import CASES
from compare import plain
from inputs import DATA, Kit, arithmetic

ARITHMETIC = DATA / "arithmetic.txt"
"""How the machine rounded on which the records were made."""


def path_of(file: str) -> Path:
    """Where the records of a file are."""
    return DATA / f"{file}.json.gz"


def read(file: str) -> dict[str, Any]:
    """Records by name."""
    found: dict[str, Any] = json.loads(gzip.decompress(path_of(file).read_bytes()))
    return found


def answer(name: str, folder: Path) -> Any:
    """What a case gives today, as JSON would hold it."""
    return plain(CASES[name].make(Kit(folder)), str(folder))


def main(patterns: list[str]) -> None:
    alike = ARITHMETIC.exists() and ARITHMETIC.read_text(encoding="utf-8") == arithmetic()
    if patterns and not alike:
        raise SystemExit("this machine rounds otherwise: record all, without NAMEs")
    ARITHMETIC.write_text(arithmetic(), encoding="utf-8")
    for file in dict.fromkeys(case.file for case in CASES.values()):
        records = read(file) if path_of(file).exists() else {}
        for name, case in CASES.items():
            if case.file != file or not any(fnmatchcase(name, p) for p in patterns or ["*"]):
                continue
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                records[name] = answer(name, Path(folder))
            print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)  # noqa: T201
        kept = {name: records[name] for name in sorted(records) if name in CASES}
        text = json.dumps(kept, separators=(",", ":"), ensure_ascii=False)
        path_of(file).write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main(sys.argv[1:])
