# make demo   the whole cycle once on the sample market      make test   lint, types, layers and the tests
# make soak   thousands of SIGKILLs, a hundred thousand mornings; goes on where it was stopped
# make mutation  changes the order path's code a thousand times, one line each: do the fast tests notice?
# Everything is installed into .venv, from the versions in constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# One numeric thread: runs repeat to the byte, and two cores are shared with Ray and Prefect.
export OMP_NUM_THREADS := 1

.PHONY: demo test test-all soak mutation lint bench bench-full constraints clean

demo: $(READY)
	$(BIN)/ordinis demo

# Two test files at a time: each file keeps its fixtures, its servers and its ports to itself.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

soak: $(READY)
	$(BIN)/python -m tests.execution.soak

# From scratch: mutmut keeps what it found while the code stays the same, even when a test has changed.
mutation: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[mutation]"
	rm -rf mutants
	$(BIN)/mutmut run --max-children 2
	$(BIN)/python -m benchmarks.mutation

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m benchmarks.mean_cvar
	$(BIN)/python -m benchmarks.rolling
	$(BIN)/python -m benchmarks.array_backtest
	$(BIN)/python -m benchmarks.walk_forward
	$(BIN)/python -m benchmarks.allocations
	$(BIN)/python -m benchmarks.projection
	$(BIN)/python -m benchmarks.cycle
	$(BIN)/python -m benchmarks.order_path
	$(BIN)/python -m benchmarks.recovery

# Beside libraries that this project does not need, in an environment of theirs.
bench-full: $(READY)
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet cvqp==0.3.0 riskfolio-lib==7.4.0 vectorbt==1.2.0
	$(BIN)/python -m benchmarks.mean_cvar --full --peers .venv-peers/bin/python
	$(BIN)/python -m benchmarks.rolling --full
	$(BIN)/python -m benchmarks.array_backtest --full --peers .venv-peers/bin/python
	$(BIN)/python -m benchmarks.walk_forward --full

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

constraints: $(READY)
	$(BIN)/python scripts/constraints.py

clean:
	rm -rf $(VENV) .venv-peers .ordinis build mutants *.egg-info
