"""What rules ask of the kernels that they would join."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ._graph import GRAPH_INPUT, GraphLayer, LayerGraph, TensorShape
from ._operators import OPERATORS
