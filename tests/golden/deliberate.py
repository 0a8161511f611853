"""Differences from the records that are meant, each with the move that made it.

Add a :class:`Change` here in the commit that changes an output on purpose. An empty table says
that everything is as it was recorded.
"""

from __future__ import annotations

from compare import Change

_BENCH = "benches print one record; both studies of searches are its rows"
_RECORDS = "the command line prints records: one shape each"
_ONE_DOOR = "one door: "
_NOTES = _ONE_DOOR + "what the user should know of an answer stands in its row, too"
_EXACT = _ONE_DOOR + "what was asked for is what the answer is for"
_ROWS = _ONE_DOOR + "a device that cannot be answered has a row that says why; the others stay"
_SEVERAL = _ONE_DOOR + "a device with several models has a row for each"
_ORDER = _ONE_DOOR + "notes are told device by device"

_ONE_UNIT = "one unit of measuring: "
_TEXTS = _ONE_UNIT + "every network of a campaign has a text of its own, which names its space"
_RUN = _ONE_UNIT + "a run, not a visit; times are attributed, not booked"
_COSTS = "operators cost what they cost: "
_TAILS = _COSTS + "an unsupported one may take long, however small its share is forecast"
_INSIDE = _COSTS + "taps of a dilated window that fall into the padding are left out"
_LISTED = "errors list at most twenty names, and the command that lists all"
_LIMITED = "searches tell and limit energy and peak memory where models of them are given"
_RANGE = (
    _COSTS + "branches give a range, and extrapolation is counted by kernels and upper ends too"
)
_UNSEEN = "an operator that a model has not seen is named before a fact that is out of range"
_CATALOGUE = "the catalogue has the devices of the public tables, by kind, with cores and chips"
_ONCE = "bytes of a constant that is read several times count once, as its parameters do"
_QUANTITY = "what is not a latency is told in its own unit"
_TERMS = "the field's terms: data issues"
_INSPECTED = "inspect has the intensity and memory of layers, kernels, and what fusion saves"
_UNLIKE = "half of the draws of variances follow the defaults, whatever targets a base knows"
_TOTALS = "adapting looks at all arithmetic and all memory traffic before it looks at single facts"
_DESIGNED = "what to measure is chosen by draws of how much targets differ, not by their mean"

_ROUNDED = "a ridge's moments are computed once: the Note10's errors are sums' rounding, 2e-7 ms"
_PRICED = "adapting a base averages with three prices fitted to the same measurements"
_PARTS = "layer models go to other targets by parts of prices and three physical numbers"

_VECTORS = "layer models count whole vectors of channels and know the size of a kernel's network"

_JOINT = "any device is answered for, by measurements or its specification, in several precisions"

_SETTINGS = "a run in which passes waited for their CPU is made again"
_WEIGHED = "training, adapting and evaluating weigh unstable rows by their scatter and say so"
_UNIT = "latencies in another unit are suspected"
_ROUNDED = "the least budget that an error names can be kept: it is rounded up"
_BY_NAME = "campaigns name their runtime as the registry does"
_NAMED = (
    "targets of search spaces are in the joint model, where they were layer models of their own"
)

_WIDE = "every forecast says where its interval is too wide to decide"
_MACHINE = "adapting says where rows are of another machine than the model"
_TOLD = "a search tells its notes beside its JSON, too"
_STATED = "a forecast tells all that is stated of its device"
_LISTED = "the joint model is listed with the others"
_TRAINED = "evaluate says where a model was trained on rows of the same source"
_SPACES = "devices without a model of a search space are answered for by the joint model"

_DRAWN = "records keep what their pages draw: scored rows, errors by group, the machine's states"
_COUNTED = "views, which compute nothing, are counted apart from layers and kernels, as in predict"
_READS = "kernels tell what they read and the shape that they write"
_CONSTANTS = "kernels of a forecast tell the bytes of their constants"

_POSTERIOR = "intervals after few measurements are those of the posterior at each network"
_DEVICES = "intervals of a specification are scaled by devices that are left out"
_NEAR = "intervals of layer models follow how near kernels are to measured ones"

CHANGES: tuple[Change, ...] = (
    *(
        Change("zoo-epyc-*.layers.latcast", path, "value", _NEAR)
        for path in ("graphs.*.[12]", "*.lower_ms.*", "*.upper_ms.*")
    ),
    *(
        Change("predict-onnx", f"1.output.devices.2.{path}", "value", _NEAR)
        for path in ("*lower_ms", "*upper_ms", "model.metrics.coverage_*")
    ),
    *(Change("train-bayes", f"*metrics.coverage_{n}", "value", _POSTERIOR) for n in (50, 80, 90)),
    *(
        Change("train-bayes", f"2.output*{end}_ms", "value", _POSTERIOR)
        for end in ("lower", "upper")
    ),
    *(Change("train-base", f"1.output*{end}_ms", "value", _DEVICES) for end in ("lower", "upper")),
    *(Change("zoo-*", f"specified.*.{end}_ms.*", "value", _DEVICES) for end in ("lower", "upper")),
    Change("predict-onnx", "*output.devices.[01]", "value", _NAMED),
    Change("predict-onnx", "0.output.devices.2", "value", _NAMED),  # with bf16
    Change("predict-onnx-odd", "*output.devices.[01]", "value", _NAMED),
    Change("predict-onnx-odd", "*.output.network.*", "value", _NAMED),  # eager PyTorch fuses none
    Change("predict-onnx*", "*.notes*", "value", _NAMED),
    Change("page", "words", "value", _NAMED),
    Change("page", "notes*", "value", _NAMED),
    Change("exported-program", "1.output.devices.[01]", "value", _NAMED),
    Change("exported-program", "1.notes*", "value", _NAMED),
    Change("refusals", "2.output.devices.*", "value", _NAMED),
    Change("adapt-networks", "*", "value", _NAMED),
    Change("models", "0.output*", "value", _NAMED),
    Change("models", "1.output.any_network", "value", _NAMED),
    Change("campaign-*", "plan.protocol.cpu_share", "added", _SETTINGS),
    Change("*", "*output.unstable", "added", _WEIGHED),
    Change("*", "*output.metrics_weighted", "added", _WEIGHED),
    Change("*", "*output.unit", "added", _UNIT),
    Change("*", "*output.targets.*.unit", "added", _UNIT),
    Change("refusals", "4.notes.0", "value", _ROUNDED),
    Change("campaign-*", "plan.runtime", "value", _BY_NAME),
    Change("*", "*output.*.notes", "added", _NOTES),
    Change("*", "*output.notes", "added", _NOTES),
    Change("predict-archs", "*.notes", "value", _ORDER),
    Change("predict-onnx", "0.*", "value", _ROWS),
    Change("*", "*output.devices.*.basis", "added", _JOINT),
    Change("*", "*output.faster", "added", _JOINT),
    Change("predict-archs", "[123].*", "value", _SPACES),
    Change("search-devices", "*", "value", _SPACES),  # one of three devices has no model
    Change("predict-target", "1.*", "value", _EXACT),  # --batch 1
    Change("predict-target", "2.*", "value", _EXACT),  # --batch 64, which the model is of
    Change("predict-target", "3.*", "value", _EXACT),  # --precision fp16
    Change("refusals", "2.*", "value", _SEVERAL),
    # Lists became objects, to carry a schema and what all rows share.
    Change("audit", "*.output", "wrapped", _RECORDS, "issues"),
    Change("audit", "*.notes", "value", f"{_RECORDS}; notes stand beside JSON, too"),
    Change("devices", "*.output", "wrapped", _RECORDS, "devices"),
    Change("devices", "[02].output", "value", _CATALOGUE),
    *(
        Change("devices", f"*.output.*.{key}", "added", _CATALOGUE)
        for key in (
            "memory_type",
            "chip",
            "clusters",
            "last_level_kb",
            "launch_us",
            "peak_matrix_fp32_flops",
        )
    ),
    Change("refusals", "[08].notes.0", "value", _CATALOGUE),
    Change("spaces", "0.output", "wrapped", _RECORDS, "spaces"),
    Change("predict-archs", "*.output", "wrapped", _RECORDS, "devices"),
    Change("predict-target", "*.output", "wrapped", _RECORDS, "devices"),
    Change("adapt", "[135].output", "wrapped", _RECORDS, "devices"),
    Change("train-[bfmr]*", "2.output", "wrapped", _RECORDS, "devices"),
    Change("train-lookup-table", "2.output", "wrapped", _RECORDS, "devices"),
    Change("train-base", "1.output", "wrapped", _RECORDS, "devices"),
    Change("lookup-table", "1.output", "wrapped", _RECORDS, "devices"),
    Change("old-[!l]*", "1.output", "wrapped", _RECORDS, "devices"),
    Change("old-lookup-table", "1.output", "wrapped", _RECORDS, "devices"),
    Change("models", "0.output", "wrapped", _RECORDS, "models"),
    Change("*", "*output.chips", "added", _LISTED),
    Change("*", "*output*.any_network.chips", "added", _LISTED),
    Change("models", "0.output.*.chips", "added", _LISTED),
    Change("models", "0.output.71", "added", _LISTED),
    *(
        Change("*", f"*output{path}.{key}", "added", _RECORDS)
        for path in ("", ".any_network", ".[0-9]*")
        for key in ("space", "target", "sources", "any_network")
    ),
    Change("*", "*output.total.kind", "added", _RECORDS),
    Change("page", "words", "value", "the field's terms; all else was equal word by word"),
    *(
        Change(cases, f"*.output.{key}", "value", _COUNTED)
        for cases in ("inspect", "exported-program")
        for key in ("total.layers", "fused.kernels", "uncosted.*.share")
    ),
    Change("*", "*devices.*.kernels.*.param_bytes", "added", _CONSTANTS),
    Change("*", "*kernels.*.out_shape", "added", _READS),
    Change("*", "*kernels.*.inputs", "added", _READS),
    Change("inspect", "1.notes.0", "value", "unsupported operators, in the field's term"),
    *(
        Change(cases, f"*output{path}", "added", _INSPECTED)
        for cases in ("inspect", "exported-program")
        for path in ("*.intensity", "*.held_bytes", ".fused", ".peak", ".kernels")
    ),
    Change("predict-onnx-odd", "2.notes.0", "value", "unsupported operators, in the field's term"),
    Change("*", "*output*.error", "added", _ROWS),
    # Keys that a shape has always, where they were there for some only, and new ones.
    Change(
        "adapt*", "*.output.skipped", "added", "rows that are left out were told on stderr only"
    ),
    Change("train-*", "*.output.traps", "renamed", "data issues, not traps", "data_issues"),
    Change("train-*", "*.output.is_calibrated", "added", "was told on stderr only"),
    Change("train-*", "*.output.families", "added", _RECORDS),
    Change("train-*", "*.output.metrics_by_family", "added", _RECORDS),
    Change("train-*", "*.output.space", "added", _RECORDS),
    Change("search-*", "*output.front.*.lower_ms", "added", "every network has its interval"),
    Change("search-*", "*output.front.*.upper_ms", "added", "every network has its interval"),
    Change("search-*", "*output.coverage", "added", "of the intervals of the front"),
    Change("tune", "output.data_issues", "added", "were told on stderr only"),
    Change("tune", "output.best.trial", "added", _RECORDS),
    Change("tune", "output.default.*", "added", _RECORDS),
    Change("lookup-table", "*.output.failed", "added", _RECORDS),
    Change("bench-[!s]*", "*output", "wrapped", f"{_RECORDS}; the scores are its rows", "rows"),
    Change("bench-search*", "*output.nasbench201", "renamed", _BENCH, "rows"),
    Change("bench-search*", "*output.bench", "added", _BENCH),
    Change("bench-search*", "*output.machine", "added", _BENCH),
    Change("bench-search*", "*.study", "added", _BENCH),
    Change("campaign-*", "plan.space", "dropped", _TEXTS),
    Change("campaign-*", "plan.unit", "dropped", _TEXTS),
    Change("campaign-*", "plan.protocol.visits", "renamed", _RUN, "runs"),
    Change("campaign-*", "plan.protocol.visits_per_process", "renamed", _RUN, "runs_per_process"),
    Change("campaign-*", "plan.protocol.visit_s", "renamed", _RUN, "run_s"),
    Change("campaign-*", "provenance.visits", "renamed", _RUN, "runs"),
    Change("campaign-*", "provenance.noise of a visit", "renamed", _RUN, "noise of a run"),
    Change(
        "campaign-graphs",
        "provenance.share of profiles booked on layers",
        "renamed",
        _RUN,
        "share of profiles attributed to layers",
    ),
    Change("*", "*output*.quantity", "added", _QUANTITY),
    Change("*", "*card.traps", "renamed", _TERMS, "data_issues"),
    Change("train-base", "*.output.targets.*.mae", "added", _QUANTITY),
    Change("train-base", "*.output.targets.*.rmse", "added", _QUANTITY),
    Change("*", "*output*.precision", "added", "no change of precision without a word"),
    Change("*", "*output*.precisions", "added", "no change of precision without a word"),
    Change("*", "*output*.inputs", "added", "files are read for their own sides, which are told"),
    *(Change("*", f"*output*.{key}", "value", _UNSEEN) for key in ("doubts", "doubts.*", "doubt")),
    Change("campaign-*", "provenance.method", "value", _RUN),
    Change("campaign-*", "provenance.protocol", "value", _RUN),
    Change("zoo-*", "graphs.odd.[12]", "value", _TAILS),
    Change("predict-onnx-odd", "*.lower_ms", "value", _TAILS),
    Change("predict-onnx-odd", "*.upper_ms", "value", _TAILS),
    Change("graphs-families", "mixed(*).facts.macs", "value", _INSIDE),
    Change("graphs-families", "mixed(*).facts.window", "value", _INSIDE),
    *(
        Change("inspect", f"1.output.{part}.param_bytes", "value", _ONCE)
        for part in ("total", "kinds.1", "layers.1")
    ),
    *(
        Change("exported-program", f"0.output.{part}.param_bytes", "value", _ONCE)
        for part in ("total", "kinds.1", "layers.45")
    ),
    *(
        Change("*", f"*output{key}", "added", _RANGE)
        for key in (
            ".min_macs",
            "*.cheapest_ms",
            "*.extrapolated_kernels",
            "*.extrapolated_upper_share",
        )
    ),
    *(
        Change("adapt", path, "value", _UNLIKE)
        for path in ("[23].output*.ms", "[23].output*_ms", "2.output.left_out.*")
    ),
    *(
        Change("adapt", path, "value", _PRICED)
        for path in ("[045].output*left_out.*", "1.output.devices.*", "[45].output*metrics.*")
    ),
    Change("*", "*output*.trained_rows", "added", _TRAINED),
    Change("old-datasets", "[23].notes.0", "added", _TRAINED),
    Change("refusals", "*.notes.*", "value", _LISTED),
    Change("*", "*output*.energy_mj", "added", _LIMITED),
    Change("*", "*output*.peak_memory_mb", "added", _LIMITED),
    Change("*", "*output*limits", "added", _LIMITED),
    Change("adapt", "[01].output*", "value", _TOTALS),
    Change("suggest", "*.output*", "value", _DESIGNED),
    Change("bench-paper", "output.rows.0.*", "value", _ROUNDED),
    Change("adapt-networks", "[01].output.*", "value", _PARTS),
    Change("train-layers", "*.output*", "value", _VECTORS),
    Change("bench-search", "output.nasbench201.*", "value", _UNLIKE),
    *(Change("*", f"*output*.{key}", "added", _DRAWN) for key in ("sample", "groups", "states")),
    *(
        Change("bench-[gt][pr]*", f"output.*.{score}_{figure}", "value", _UNLIKE)
        for score in (
            "spearman",
            "kendall",
            "mape",
            "mae",
            "median_error",
            "within_10",
            "coverage_90",
        )
        for figure in ("mean", "std")
    ),
    Change("adapt*", "*output*.machine", "added", _MACHINE),
    Change("adapt", "[04].notes.0", "added", _MACHINE),
    Change("*", "*output*.specification.device", "added", _STATED),
    Change("search-*", "*notes.*", "added", _TOLD),
    Change("train-base", "1.*notes.2", "added", _WIDE),  # at its end, and the others after it
    Change("train-base", "1.*notes.1", "value", _WIDE),
)
