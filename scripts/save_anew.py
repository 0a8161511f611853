"""Save files of an earlier version anew, as they are, so that they have a checksum.

python scripts/save_anew.py src/latcast/zoo/*.latcast datasets/*.parquet src/latcast/zoo/corpus
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np

from latcast._checksums import UncheckedFileWarning
from latcast._model_file import ModelFile, read_model, write_model
from latcast.data import Dataset
from latcast.networks.corpus import read_corpus


def save_anew(path: Path) -> None:
    """Save a file anew.

    Raises:
        ValueError: it is not read as it was before.
    """
    if path.is_dir():
        read_corpus(path).save(path)
    elif path.suffix == ".parquet":
        before = Dataset.load(path)
        before.save(path)
        now = Dataset.load(path)
        if not np.array_equal(before.values, now.values) or before.networks != now.networks:
            raise ValueError(f"{path} must be read as it was before; it is not")
    else:
        model = read_model(path)
        write_model(path, ModelFile(model.header, model.tensors))
        after = read_model(path)
        same = all(np.array_equal(after.tensors[k], v) for k, v in model.tensors.items())
        if after.header != model.header or after.tensors.keys() != model.tensors.keys() or not same:
            raise ValueError(f"{path} must be read as it was before; it is not")


def main() -> None:
    """Save all files that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    warnings.simplefilter("ignore", UncheckedFileWarning)
    for path in parser.parse_args().paths:
        size = sum(p.stat().st_size for p in (path.iterdir() if path.is_dir() else (path,)))
        save_anew(path)
        now = sum(p.stat().st_size for p in (path.iterdir() if path.is_dir() else (path,)))
        print(f"{path}: {size} bytes, {now} now")


if __name__ == "__main__":
    main()
