"""How much any file may hold: what every reader refuses, whatever a file says of itself.

A file of a few kilobytes can ask for hours and gigabytes: compressed blanks, a million empty
parts, graphs in graphs. All limits stand here, each well above what real files need; a file beyond
one is a ``ValueError`` that names the limit. ``docs/files.md`` lists them.
"""

from __future__ import annotations

# --- files ---------------------------------------------------------------------------------------

MAX_FILE_BYTES = 2**30
"""Bytes of a file that is read at once: a dataset, a table of measurements, a campaign's value."""

MAX_TEXT_BYTES = 64 * 2**20
"""Bytes of a text that is parsed at once: JSON, YAML, ncnn's ``.param``."""

MAX_CATALOGUE_BYTES = 4 * 2**20
"""Bytes of a device file in TOML: the catalogue that ships has 0.2 MB."""

MAX_LOOKUP_TABLE_BYTES = 16_000_000
"""Bytes of a lookup table of Once-For-All's in YAML."""

MAX_DEPTH = 64
"""Levels of lists, mappings or elements in each other, in any text."""

# --- model files and datasets of latcast's own ---------------------------------------------------

MAX_HEADER_BYTES = 8 * 2**20
"""Bytes of the header of a model file: the joint model's has 0.2 MB."""

MAX_ARRAYS = 4096
"""Arrays in a model file: the joint model has 25. 300,000 empty ones took 20 s to read."""

MAX_ROWS = 10_000_000
"""Rows of a dataset."""

MAX_VALUES = 50_000_000
"""Values of all columns of a dataset, those in lists counted one by one."""

MAX_COLUMNS = 4096
"""Columns of a table; ones of a timm table are a score each."""

MAX_PAGES = 100_000
"""Pages of a Parquet file: one has up to a megabyte of a column."""

MAX_CAMPAIGN_VALUE_BYTES = 64 * 2**20
"""Bytes of one value in a campaign file: the samples of a run, or a model's description."""

# --- networks ------------------------------------------------------------------------------------

MAX_AXES = 64
"""Sides of a shape."""

MAX_ELEMENTS = 2**48
"""Elements of a shape: more than any machine holds."""

MAX_NODES = 200_000
"""Nodes of a network, bodies of loops and functions written out. Of a chain of 20,000 each takes
4.7 kB while an ONNX file is read, so that all take about a gigabyte."""

MAX_FOLDED_ELEMENTS = 2**23
"""Elements of all constants of a network that are computed while it is read: a chain of constants
of 4,096 elements each is short in a file."""

MAX_FOLDED = 4096
"""Elements of the largest constant that is computed with; of larger ones the shape is enough."""

MAX_TENSORS = 4 * MAX_NODES
"""Tensors of a TensorFlow Lite file: an operator has a few."""

MAX_BODY_RUNS = 2**40
"""Runs of a loop's body in a pass, loops in loops multiplied."""

MAX_EXPRESSION_CHARACTERS, MAX_EXPRESSION_SIDE = 200, 2**40
"""Length of the expression of a side: more than any exporter's, and soon parsed; and the largest
number on the way to its value."""

MAX_PYTORCH_CHARACTERS, MAX_PYTORCH_SIDE = 10_000, 2**63
"""The same of PyTorch's own expressions, which are longer and hold the largest integer."""

MAX_GRAPH_DEPTH = 16
"""Graphs and functions of ONNX in each other."""

MAX_ONNX_FIELDS = 2_000_000
"""Parts of an ONNX file without its weights."""

MAX_GRAPH_BYTES = 256 * 2**20
"""Bytes of the description of a network: a graph in a ``.pt2``, OpenVINO's ``.xml``."""

MAX_ELEMENTS_OF_XML = 3_000_000
"""Elements of an OpenVINO file."""

MIN_UNPACKED_BYTES = 2**24
"""Bytes that any archive may unpack to: small tables of repeated words are a hundredth."""

MIN_UNPACKED_TABLE_BYTES = 2**28
"""Bytes that any Parquet file may unpack to: texts of graphs are alike, and pack to less than a
fiftieth."""

MAX_UNPACKED_RATIO = 50
"""Bytes that are unpacked for one in an archive: PyTorch does not compress, zip does ten times."""

# --- the service ---------------------------------------------------------------------------------

MAX_UPLOAD_BYTES = 512 * 2**20
"""Bytes of a file that is sent to the service."""

MAX_REQUEST_BYTES = 8 * 2**20
"""Bytes of any other request to it: 20,000 architectures."""

MAX_REQUEST_ARCHS = 20_000
"""Architectures of a request, devices counted each; a forecast of one has some 2 kB of JSON."""

MAX_ANSWER_BYTES = 128 * 2**20
"""Bytes of the answer of a worker process."""

MAX_WORK_S = 60.0
"""Seconds that a request may keep a worker process, and of its CPU time."""

MAX_WORKER_BYTES = 3 * 2**30
"""Memory that a request may take of a worker process beyond what it has when it is warm."""

MAX_UPLOAD_S = 300.0
"""Seconds that a file may take to come."""

MAX_UPLOADS = 8
"""Files that the service takes at a time: each may lie twice on its disk, as it comes and as it is
kept, so that all of them take 8 GB."""

MAX_KEY_UPLOADS = 4
"""Of these, files of one key."""

MAX_REQUESTS = 128
"""Requests that the service works on at a time, those that wait included: their bodies are in its
memory, 8 MB each at most."""

MAX_KEY_REQUESTS = 32
"""Of these, requests of one key."""

MAX_WAITING = 32
"""Requests that wait for a worker process; others are told to try again."""

MAX_STATE_BYTES = 8 * 2**30
"""Bytes of all files that the service keeps; those that were not used longest go first."""

MAX_STATE_FILES = 10_000
"""Files that it keeps, however small: all are gone through when one comes."""

MAX_STATE_DAYS = 30.0
"""Days that it keeps a file that nobody uses."""

MAX_RUNNING_JOBS = 1
"""Searches and tunings that run at a time, each in a process of its own."""

MAX_JOBS = 100
"""Jobs that wait or run."""

MAX_KEY_JOBS = 20
"""Of these, jobs of one key."""

MAX_JOB_S = 6 * 3_600.0
"""Seconds that a job may run, and of its CPU time, those before a restart included."""

MAX_JOB_BYTES = 3 * 2**30
"""Memory that a job may take beyond what its process has when it is warm."""

MAX_JOB_DISK_BYTES = 2**30
"""Bytes that a job may keep on disk: the trials of a tuning take some kilobytes each, the
checkpoint of a search some megabytes."""

MAX_KEPT_JOBS = 1_000
"""Jobs of a key that have ended and are still told of."""
