# make train   runs the main job: learn from the model's own test failures, then print the results before and after
# make test    runs the test suite without its slow tests, in minutes
# make test-all runs all tests, as continuous integration does
# make bench   measures this machine, stage by stage
# make docs    makes a site of all pages in build/site, with every command, setting and public name
# make proofs  installs the proof checker Rocq, which nothing but the domain of proofs needs
# Each target sets up what it needs in a fresh checkout. A second call does no work twice.

PYTHON  ?= python3
SYSTEM  := $(shell uname -s)
# The backend of MLX. There is nothing to choose on a Mac. Elsewhere it is cpu, or cuda with an NVIDIA GPU.
BACKEND ?= $(if $(filter Darwin,$(SYSTEM)),,cpu)
EXTRA   := $(if $(BACKEND),[$(BACKEND)],)
comma   := ,
BIN     := .venv/bin
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt
RUN     ?= runs/default
ARGS    ?=
# Tests run on all cores, but in at most four processes, because each may hold a real model in memory.
PYTEST  := -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: setup train test test-slow test-all lint bench docs proofs notebooks claims lock test-lowest clean blas
.DEFAULT_GOAL := setup

setup: .venv/.ready blas

train: setup
	$(BIN)/mlx-selfdebug run --run $(RUN) $(ARGS)

test: .venv/.ready-dev blas
	$(BIN)/python $(PYTEST) -m "not slow" $(ARGS)

# Runs the slow tests alone. With PART=1, 2 or 3, runs a third of them, by the seconds that they took when the file was written. To
# write it anew: make test-slow ARGS="--store-durations --clean-durations".
test-slow: .venv/.ready-dev blas
	$(BIN)/python $(PYTEST) -m slow --durations-path .ci/seconds-of-slow-tests.json $(if $(PART),--splits 3 --group $(PART)) $(ARGS)

test-all: .venv/.ready-dev blas
	$(BIN)/python $(PYTEST) $(ARGS)

lint: .venv/.ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: setup
	$(BIN)/mlx-selfdebug bench $(ARGS)

# Warnings are errors: a broken link, a page that is not in the navigation, a public name without a docstring.
docs: .venv/.ready-docs
	PYTHONPATH=.ci $(BIN)/python -m docs --output build/site

# Installs Rocq, which checks the proofs of the set `proofs`, where that needs no password. Elsewhere this prints what to type.
proofs:
	@command -v coqidetop.opt >/dev/null || command -v coqidetop >/dev/null || { \
	  if [ "$(SYSTEM)" = Darwin ]; then echo "To check proofs: brew install rocq"; \
	  elif ! command -v apt-get >/dev/null; then echo "To check proofs, install Rocq: https://rocq-prover.org/install"; \
	  else \
	    if [ "$$(id -u)" = 0 ]; then as=; else as="sudo -n"; fi; \
	    if $$as true 2>/dev/null; then \
	      $$as apt-get install -y -qq coq >/dev/null 2>&1 \
	      || { $$as apt-get update -qq && $$as apt-get install -y -qq coq; } >/dev/null 2>&1 \
	      || echo "Rocq could not be installed; proofs cannot be checked"; \
	    else echo "To check proofs: sudo apt-get install coq"; fi; fi; }

# Makes the notebooks in examples/ from the scripts beside them, run on the real model in an empty folder, with their outputs kept.
notebooks: .venv/.ready-dev blas
	cd "$$(mktemp -d)" && "$(CURDIR)/$(BIN)/python" "$(CURDIR)/examples/notebooks.py" $(ARGS)

# Runs the comparisons with other tools and the checks of what the documents claim. Each prints a table, then one JSON line.
claims: .venv/.ready-dev blas
	for name in sandbox_forges sandbox_facts sandbox_runs stream training gated_delta estimate evidence report baseline; do \
	  $(BIN)/python benchmarks/$$name.py || exit 1; done

# `lock` pins the newest versions that pyproject.toml allows. `test-lowest` runs the tests with the oldest; of transformers, which
# mlx-lm requires, it takes the oldest version that mlx-lm allows.
lock: .venv/.ready-dev
	$(PIP) uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-annotate --python-version 3.11 --extra cpu --extra dev --extra docs --extra wandb \
	  --custom-compile-command 'make lock' pyproject.toml --output-file .ci/constraints.txt

test-lowest: .venv/.ready-dev blas
	$(PIP) uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[$(if $(BACKEND),$(BACKEND)$(comma))dev]' transformers
	.venv-lowest/bin/python $(PYTEST) $(ARGS)

clean:
	rm -rf .venv .venv-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/.ready: pyproject.toml .ci/constraints.txt | .venv/bin/python
	$(PIP) --editable '.$(EXTRA)'
	touch $@

.venv/.ready-dev: pyproject.toml .ci/constraints.txt | .venv/.ready
	$(PIP) --editable '.[$(if $(BACKEND),$(BACKEND)$(comma))dev]'
	touch $@

.venv/.ready-docs: pyproject.toml .ci/constraints.txt | .venv/.ready
	$(PIP) --editable '.[$(if $(BACKEND),$(BACKEND)$(comma))docs]'
	touch $@

# MLX's CPU backend is about 100 times slower without OpenBLAS. It is installed where that needs no password. Elsewhere this prints
# what to type.
blas:
ifeq ($(SYSTEM)-$(BACKEND),Linux-cpu)
	@if ! ldconfig -p 2>/dev/null | grep -q libopenblas.so.0 && command -v apt-get >/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then as=; else as="sudo -n"; fi; \
	  if $$as true 2>/dev/null; then \
	    $$as apt-get install -y -qq libopenblas0-pthread >/dev/null 2>&1 \
	    || { $$as apt-get update -qq && $$as apt-get install -y -qq libopenblas0-pthread; } >/dev/null 2>&1 \
	    || echo "OpenBLAS could not be installed; go on without it"; \
	  else echo "For a fast CPU backend: sudo apt-get install libopenblas0-pthread"; fi; fi
endif
