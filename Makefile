# The doors of the project. `make` lists them; each sets up what it needs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
EXTRA := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
STAMP := .venv/.installed-$(EXTRA)
PINS := constraints/cpu-py311.txt
RESULTS := docs/results
FAST := tests/unit tests/contracts tests/parity tests/architecture

export RAY_USAGE_STATS_ENABLED := 0
export WANDB_MODE := offline
export RAY_DATA_DISABLE_PROGRESS_BARS := 1

# `static` and `fast` are the halves of `check`, which runs them beside each other: types take a minute of one core.
.PHONY: help setup fmt check static fast test e2e bench docs demo wheel constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with everything pinned; nothing to do when it is up to date

# torch first: it decides by itself which of the largest wheels come, and a failure shows before the rest is fetched.
# Compiled afterwards, on every core, which pip does on one; some packages bring files that no Python of ours compiles.
# A third of all that lies in folders which nothing here imports.
$(STAMP): pyproject.toml $(PINS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is not Python 3.11 or later: install one, or give PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c $(PINS) torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c $(PINS) -e '.[$(EXTRA),dev]'
	$(BIN)/python -m compileall -q -j 0 -x '/(tests?|testing/_internal|sympy|rllib|networkx|pip|mypy)/' .venv/lib >/dev/null 2>&1 || true
	touch $@

fmt: setup  ## format, and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: setup  ## format, lint, types, imports, unit, contracts, parity, architecture: no cluster, no network
	@$(MAKE) --no-print-directory -j 2 static fast

static:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

fast:
	$(BIN)/pytest $(FAST) -n 2 --dist worksteal
	$(BIN)/pytest --doctest-modules recray/evaluation recray/experiments

test: check  ## check, then integration and end to end
	$(BIN)/pytest tests/integration tests/e2e -n 2 --dist loadfile --no-loadscope-reorder

e2e: setup  ## import, train, serve, feed back, kill, on this machine
	$(BIN)/pytest tests/e2e

bench: setup  ## measure speed and faults into docs/results
	for what in serve faults; do $(BIN)/recray bench $$what --json $(RESULTS)/$$what.json $(ARGS); done

docs: setup  ## check that documents, code and commands agree
	$(BIN)/pytest tests/architecture/test_documents.py

demo: setup  ## data, training and a served page on this machine; ARGS="--help" shows the choices
	$(BIN)/recray demo $(ARGS)

wheel: setup  ## build dist/, which cluster.yaml hands to every machine
	rm -rf dist
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

constraints: setup  ## pin what is installed now
	@{ echo "# Written by 'make constraints' from a tested environment: Python 3.11, extras cpu and dev."; \
	  $(BIN)/pip freeze --exclude-editable | grep -v ' @ ' | sed 's/+cpu$$//'; } > $(PINS).new
	mv $(PINS).new $(PINS)
	touch $(STAMP)

clean:  ## remove what was built, never data, bundles or .venv
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis htmlcov .coverage
	find recray tests -name __pycache__ -type d -prune -exec rm -rf {} +
