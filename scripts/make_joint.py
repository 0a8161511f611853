"""Train the shipped joint model from the public tables (`make zoo`).

One model learns from all rows of all tables together; its intervals come from chips and families of
networks that were left out in turn. The card has what every table gave, and its licence.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from latcast.bench.devices.assembly import Assembled, assemble
from latcast.models.joint import Joint, JointModel

SEED = 0

SOURCES = {
    "ncnn": ("benchmark/ of github.com/Tencent/ncnn", "BSD-3-Clause"),
    "timm": ("results/ of github.com/huggingface/pytorch-image-models", "Apache-2.0"),
    "ai_hub": ("github.com/quic/ai-hub-models", "BSD-3-Clause"),
    "neusight": ("github.com/sitar-lab/NeuSight", "MIT"),
    "tinynas": ("github.com/alibaba/lightweight-neural-architecture-search", "Apache-2.0"),
}
"""Table -> where it is from, and its licence."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public tables")
    parser.add_argument("--tables", default="", help="names of tables; all that there are")
    parser.add_argument("--out", type=Path, required=True, help="file of the model")
    arguments = parser.parse_args()
    start = time.perf_counter()
    tables = [name for name in arguments.tables.split(",") if name]
    assembled = assemble(arguments.data, tables=tables)
    print("\n".join(assembled.notes))
    model = JointModel.fit(assembled.data, seed=SEED, report=print)
    card = {
        "data": list(_sources(assembled)),
        "licence": "model: Apache-2.0; data: as of each table",
        "rows": len(assembled.data),
        "split": "intervals: a quarter of the chips and of the families left out, four times",
        "left_out": [
            {"domain": domain, "way": way, "samples": samples, "median_error": error}
            for (domain, way, samples), error in sorted(model.left_out.items())
        ],
    }
    Joint.of(model, assembled.data, card).save(arguments.out)
    size, seconds = arguments.out.stat().st_size, time.perf_counter() - start
    print(f"{len(assembled.data)} rows, {size / 1e6:.2f} MB, {seconds:.0f} s")


def _sources(assembled: Assembled) -> Iterator[dict[str, Any]]:
    data = assembled.data
    for table in dict.fromkeys(p.table for p in assembled.parts):
        rows = assembled.tables == table
        targets = [data.targets[n] for n in np.unique(data.target[rows])]
        source, licence = SOURCES[table]
        yield {
            "table": table,
            "source": source,
            "licence": licence,
            "rows": int(rows.sum()),
            "targets": len(targets),
            "chips": len({t.chip for t in targets}),
            "networks": len(np.unique(assembled.row_identities[rows])),
        }


if __name__ == "__main__":
    main()
