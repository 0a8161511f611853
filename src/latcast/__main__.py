"""``python -m latcast``."""

import os
import sys

# Python puts the current folder first: what lies there, such as a `queue.py` among other downloads,
# is not to be imported. `python -P -m latcast` and `latcast` do not look there from the start.
_here = os.getcwd()  # noqa: PTH109
_is_searched = not sys.flags.safe_path and sys.path[:1] == [_here]
if _is_searched and not __file__.startswith(os.path.join(_here, "latcast", "")):  # noqa: PTH118
    del sys.path[0]

from .cli import main  # noqa: E402

main()
