"""Draw learning curves from what a bench prints with ``--json``.

For example: latcast bench paper --data ofanas --fine-tuning --seeds 10 --json > rows.json
             python scripts/draw_curves.py rows.json --out curves.svg --panel target --line method
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from latcast.bench.curves import draw


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, help="what a bench prints with --json")
    parser.add_argument("--out", type=Path, required=True, help="picture (.svg, .png or .pdf)")
    parser.add_argument("--panel", required=True, help="key with a panel for each value")
    parser.add_argument("--line", required=True, help="key with a line for each value")
    parser.add_argument("--score", default="mae_ms", help="key of what is drawn upwards")
    parser.add_argument("--samples", default="samples", help="key of the number of samples")
    parser.add_argument("--only", action="append", metavar="LINE", help="this line; repeatable")
    a = parser.parse_args()
    rows = json.loads(a.rows.read_text(encoding="utf-8"))["rows"]
    if a.only:
        rows = [r for r in rows if str(r.get(a.line)) in a.only]
    draw(rows, a.out, panel=a.panel, line=a.line, score=a.score, samples=a.samples)


if __name__ == "__main__":
    main()
