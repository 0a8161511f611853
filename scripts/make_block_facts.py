"""Store the facts of the blocks of the large search spaces, which takes seconds to work out.

    python scripts/make_block_facts.py

To be run when a convention of counting changes, or a space: a test compares what is stored.
"""

from __future__ import annotations

import numpy as np

from latcast.spaces import space
from latcast.spaces._block_table import FACTS, STORED, BlockTable

SPACES = ("ofa-mobilenet-v3", "ofa-mobilenet-v3-w1.0", "ofa-proxyless", "ofa-resnet50")


def main() -> None:
    facts = {}
    for name in SPACES:
        table = space(name).block_table
        made = BlockTable.build(table.blocks, table.keys, table.groups)
        facts[name] = np.stack([made.facts[f] for f in FACTS]).astype(np.int64)
    np.savez_compressed(STORED, names=np.array(FACTS), **facts)  # type: ignore[arg-type]
    print(f"{STORED}: {STORED.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
