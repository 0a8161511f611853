# `make demo` shows the main job on the shipped models; `make test` runs every check, `make quick`
# those that take no patience, and `make nightly` looks for what no other has found.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data
# Compiled afterwards, on all cores: where Python may not write bytecode (PYTHONDONTWRITEBYTECODE,
# usual in containers), a forecast would else compile its 565 modules anew, 2.2 s in place of 0.9.
# That takes 5 s, and 16 s with the runtimes; templates among the files are no Python, which is fine.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile \
  --constraint constraints.txt
PURELIB := $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
COMPILE = $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' src "$$($(PURELIB))" || true
# One thread of BLAS and of OpenMP: the matrices are small, and threads that wait for a busy core burn
# minutes (PyTorch's: on two cores with other work, tests of supernets took sixteen times the CPU).
# Freed memory is kept: a fit then touches up to 45 % fewer fresh pages, which some virtual machines
# are slow to give out. Bytecode is written: the workers, and each process that a test starts, would
# else compile the tests and our modules anew.
PYTEST := PYTHONDONTWRITEBYTECODE= OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=33554432 \
  MALLOC_TRIM_THRESHOLD_=8589934592 $(BIN)/pytest --numprocesses auto --dist worksteal

.PHONY: demo test quick docs nightly fuzz oldest soak dataset corpus zoo results results-search results-families results-transfer clean

demo: $(VENV)/installed
	@for device in samsung-note10 rtx-2080-ti tesla-p40; do \
	  echo "$$ latcast search --device $$device --max-latency 20 --confidence 0.9"; \
	  $(BIN)/latcast search --device $$device --max-latency 20 --confidence 0.9 || exit 1; \
	done

test: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

# While you work: 90 s on two cores, without the public data, runtimes or processes of its own.
quick: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	HYPOTHESIS_PROFILE=quick $(PYTEST) -m "not slow and not data and not worker and not docs"

# The site, in build/site: opened from there, or by a server, which its search needs
# (python -m http.server --directory build/site).
docs: $(VENV)/documented
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo build/site/index.html

# Ten runs in a row, each with other random examples, more of them, and other damaged files.
nightly: $(VENV)/tested
	for run in 1 2 3 4 5 6 7 8 9 10; do \
	  HYPOTHESIS_PROFILE=nightly LATCAST_FUZZ_RUN=$$run $(PYTEST) || exit 1; \
	done

# Prediction and search with the oldest dependencies that pyproject.toml claims, without PyTorch and
# runtimes; and what can be known of other Pythons without having them.
OLDEST := build/oldest/bin/python
OF_PREDICTION := tests/spaces tests/search tests/report tests/cli/test_cli.py \
  tests/models/test_resolve.py tests/models/test_roofline.py tests/models/test_lookup_table.py \
  tests/models/test_model_file.py tests/graph/read/test_formats.py --ignore tests/search/interop
oldest: $(VENV)/tested
	$(PYTHON) -m venv build/uv
	build/uv/bin/pip install --quiet uv vermin
	build/uv/bin/uv venv --quiet --clear --python $(BIN)/python build/oldest
	build/uv/bin/uv pip install --quiet --python $(OLDEST) --resolution lowest-direct --editable .
	build/uv/bin/uv pip install --quiet --python $(OLDEST) pytest hypothesis
	OPENBLAS_NUM_THREADS=1 $(OLDEST) -m pytest -W default -m "not slow and not data and not worker" \
	  $(OF_PREDICTION)
	build/uv/bin/vermin --no-tips --eval-annotations --target=3.11- src
	$(BIN)/mypy --python-version 3.12
	$(BIN)/mypy --python-version 3.13

# 10,000 inputs of every format, read or refused; hours on a busy machine.
fuzz: $(VENV)/tested
	OPENBLAS_NUM_THREADS=1 $(BIN)/python scripts/fuzz.py --inputs 10000

# An hour of jobs that are killed, interrupted, or have no disk left.
soak: $(VENV)/tested
	$(BIN)/python scripts/soak.py --seconds 3600

# Measure our dataset on this machine: hours, on which nothing else may run. Goes on where it was
# interrupted; see datasets/README.md.
DEVICE ?= this-machine
dataset: $(VENV)/tested
	$(BIN)/python scripts/make_datasets.py --device $(DEVICE) --campaigns build/campaigns \
	  --out datasets

# Make the shipped corpus of networks again; needs timm and others, see scripts/make_corpus.py.
corpus: $(VENV)/tested
	OPENBLAS_NUM_THREADS=1 $(BIN)/python scripts/make_corpus.py --data $(DATA)/public \
	  --work build/corpus --out src/latcast/zoo/corpus

# Train the shipped models again from the public data and our own.
zoo: $(VENV)/tested
	$(BIN)/python scripts/distill_accuracy.py --teacher $(DATA)/ofanas/acc_predictor.pth \
	  --out src/latcast/zoo/ofa-mobilenet-v3.accuracy.latcast
	OPENBLAS_NUM_THREADS=1 $(BIN)/python scripts/make_zoo.py --data $(DATA) --measured datasets \
	  --out src/latcast/zoo
	OPENBLAS_NUM_THREADS=1 $(BIN)/python scripts/make_joint.py --data $(DATA) --measured datasets \
	  --out src/latcast/zoo/devices.joint.latcast

# Write the tables of docs/results again; single-threaded, as they state.
results: $(VENV)/tested
	OPENBLAS_NUM_THREADS=1 $(BIN)/latcast bench paper --data $(DATA)/ofanas --seeds 3 \
	  > docs/results/paper.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/latcast bench paper --data $(DATA)/ofanas --fine-tuning --seeds 10 \
	  --draw docs/results/finetuning.svg > docs/results/finetuning.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/latcast bench paper --data $(DATA)/ofanas --curves --seeds 5 \
	  --draw docs/results/curves.svg > docs/results/curves.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/speed.py --data $(DATA)/ofanas > docs/results/speed.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/python scripts/sensitivity.py > docs/results/sensitivity.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/python scripts/make_joint.py --data $(DATA) --measured datasets \
	  --ablation > docs/results/ablation.txt

# Those of search: half an hour, the last two on an otherwise idle machine.
results-search: $(VENV)/tested
	mkdir -p build
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/confidence.py --data $(DATA) \
	  > docs/results/confidence.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/accuracy.py \
	  --help-list $(DATA)/help/nasbench201/arch_generated_by_metad2a.txt > docs/results/accuracy.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/expected_latency.py \
	  > docs/results/expected_latency.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/latcast bench search --data $(DATA)/ofanas --help-data $(DATA)/help \
	  --confidence 0.9 --seeds 5 > build/nas.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/latcast bench search --data $(DATA)/ofanas --seeds 3 \
	  --space compofa-fixed-kernel --source mlp-paper --source last-layer-100 \
	  --source mlp-conditioned --source mlp-conditioned-standardized >> build/nas.txt
	mv build/nas.txt docs/results/nas.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/search.py --data $(DATA)/ofanas \
	  > docs/results/search.txt
	$(BIN)/python benchmarks/verification.py datasets > build/verification.txt
	$(BIN)/python benchmarks/verification.py host >> build/verification.txt
	mv build/verification.txt docs/results/verification.txt

# Those of networks of any kind: half an hour. fusion.txt and counts.txt need files of models that
# other packages write; see benchmarks/kernels.py and counts.py.
results-families: $(VENV)/tested
	OPENBLAS_NUM_THREADS=1 $(BIN)/latcast bench families datasets/epyc-genoa-2c_*.networks.parquet --seeds 3 \
	  > docs/results/families.txt

# Those of new targets and GPUs: half an hour. Scratch files: a run that fails leaves the old table.
TRANSFER := OPENBLAS_NUM_THREADS=1 $(BIN)/latcast bench transfer --data $(DATA)/help \
  --selection both --seeds 20 --ceiling
GPU := OPENBLAS_NUM_THREADS=1 $(BIN)/latcast bench gpu --data $(DATA)/help --seeds 20
results-transfer: $(VENV)/tested
	mkdir -p build
	$(TRANSFER) --space nasbench201 --split help > build/transfer.txt
	$(TRANSFER) --space fbnet --leave-one-out >> build/transfer.txt
	$(TRANSFER) --space ofa --split help >> build/transfer.txt
	mv build/transfer.txt docs/results/transfer.txt
	$(GPU) --space nasbench201 > build/gpu.txt
	$(GPU) --space ofa >> build/gpu.txt
	mv build/gpu.txt docs/results/gpu.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/latcast bench transfer --data $(DATA)/help --space nasbench201 \
	  --split help --selection both --seeds 10 --samples 1 --samples 3 --samples 5 --samples 10 \
	  --samples 20 --samples 50 --samples 100 --json > build/transfer.json
	$(BIN)/python -c "from latcast.report.record import read_record; \
	  from latcast.report.plot import save_picture; from pathlib import Path; import json; \
	  scores = read_record(json.load(open('build/transfer.json'))); \
	  save_picture([*scores.figures()], Path('docs/results/transfer.svg'))"

$(VENV)/python:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/python pyproject.toml constraints.txt
	$(PIP) --editable .
	$(COMPILE)
	@touch $@

$(VENV)/documented: $(VENV)/installed
	$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(PIP) --editable '.[runtimes,dev]'
	$(COMPILE)
	@touch $@

clean:
	rm -rf $(VENV) dist build
