# `make demo` and `make test` need Python >= 3.11 and make, and nothing installed by hand.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := $(VENV)/bin
# What the environment is made from; it is made again when one of them changes.
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow lint format install clean

demo: $(STAMP)
	$(BIN)/weightsmith run mnist-trajectory --or-digits

# Tests that send signals at moments of their own, or wait for processes to notice each other's end, run alone: beside
# others they would be late. All the rest run two at once, each on one core.
ALONE := $(addprefix tests/,engines objectives/test_replicas.py $(addprefix faults/test_rows_, \
  01_06_kill_loops.py 04_06_interruption.py 04_06_universal.py 04_08_moments.py 07_12_builds.py 09_12_environment.py))

test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --ignore=,$(ALONE))
	$(BIN)/python -m pytest $(ALONE)

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python >= 3.11 is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1): try make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "The venv module is missing: on Debian or Ubuntu, apt install python3-venv; elsewhere, install all of Python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# The CPU build of torch is small; where its index is not reached, the package index has one too.
	@$(BIN)/python -c 'import torch' 2>/dev/null || \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --retries 0 --timeout 5 --no-deps \
	    --index-url $(TORCH_INDEX) $(TORCH) 2>/dev/null || true
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
