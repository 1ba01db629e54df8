# `make run` shows the main job without a key; `make test` is what CI runs. Both set everything up from plain Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PLAN ?= examples/bookkeeping/plan.yaml
RUN_FLAGS ?= --simulate --latency lognormal:1.5:0.5 --seed 7 \
	--fault wrong=0.2 --fault 429=0.05 --fault 529=0.03 \
	--out out/bookkeeping --report out/bookkeeping.report.json --report out/bookkeeping.report.html

.PHONY: run test gate unit setup system-packages lock benchmarks simulate-long chaos fuzz-api clean

run: setup
	$(BIN)/mge-ray run $(PLAN) $(RUN_FLAGS)

test: setup system-packages gate unit

gate: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

unit: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_FLAGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --include='mge_ray/domain/*,mge_ray/execution/*' --fail-under=100

setup: $(READY)

$(READY): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "mge-ray needs Python 3.10 or newer; say make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# bubblewrap, PostgreSQL and Chromium, where Debian's packages may be installed; elsewhere tests that need them say so.
system-packages:
	@tools/system-packages

lock:
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml -o requirements/run.lock
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --group dev -o requirements/dev.lock

# Kills processes of real runs and looks whether they end right; prints a table by kind of kill.
# A million atoms of drawn executions in virtual time, with crashes and commands: about half an hour.
simulate-long: setup
	$(BIN)/python -m tests.simulation --until-atoms 1000000

chaos: setup
	$(BIN)/python -m tests.cluster.chaos --runs 50 --seed 0

# Thousands of drawn requests against a service of its own, compared with its OpenAPI document: some minutes.
fuzz-api: setup
	$(BIN)/python -m tests.api.fuzz --examples 100

benchmarks: setup
	$(BIN)/python benchmarks/dispatch.py
	$(BIN)/python benchmarks/dispatch.py --atoms 4000 --leases 1000
	$(BIN)/python benchmarks/dispatch.py --checks
	$(BIN)/python benchmarks/validation.py
	$(BIN)/python benchmarks/service_load.py

clean:
	rm -rf $(VENV) out .mge build dist
