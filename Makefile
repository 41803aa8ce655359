# Two commands do everything on a machine with Python 3.11 or newer and make: `make demo`, `make test`.
#
#   PYTHON   the interpreter that the environment is made with
#   TORCH    what to install as torch; the README says what a GPU machine takes
#   AUDIO    (demo) a file, folder, glob or s3:// prefix of your own to tag
#   PIP      options for pip, for example --index-url

PYTHON ?= python3
TORCH ?= torch==2.13.0
PIP ?=
AUDIO ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: setup demo browser test test-faults check format bench soak audit lock

setup: $(READY)

$(READY): requirements.lock
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP) '$(TORCH)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP) -r requirements.lock
	touch $@

demo: $(READY)
	$(BIN)/python -m pipelines demo $(if $(AUDIO),'$(AUDIO)')

PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Pages are tested in a Chromium; one that is not there is fetched.
browser: $(READY)
	$(BIN)/python -m tests.support.chromium

test: browser
	$(PYTEST) -m 'not faults'

# The rest: kills, full disks, stores that fail, and whole jobs that others stand for in `make test`.
# A name space of its own lets a test mount a small disk and fill it, without being root.
OWN_MOUNTS = unshare --user --map-root-user --mount

test-faults: browser
	$(shell $(OWN_MOUNTS) true 2>/dev/null && echo $(OWN_MOUNTS)) $(PYTEST) -m faults

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m benchmarks.embedding --write
	$(BIN)/python -m benchmarks.embedding --threads 2 --write
	$(BIN)/python -m benchmarks.tag_job --write
	$(BIN)/python -m benchmarks.training --write
	$(BIN)/python -m benchmarks.growth --write
	$(BIN)/python -m benchmarks.housekeeping --write
	$(BIN)/python -m benchmarks.search --peers --write
	$(BIN)/python -m benchmarks.page

soak: $(READY)
	KILLS=5 $(BIN)/python -m pytest tests/e2e/test_kills.py
	$(BIN)/python -m benchmarks.soak

# Looks the pinned versions up among known vulnerabilities; needs the network.
audit: $(READY)
	$(BIN)/python -m venv build/audit
	build/audit/bin/pip install --quiet pip-audit
	build/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip

# Renews the pinned versions from pyproject.toml; torch stays out, so that its build can be chosen.
lock: $(READY)
	$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager '.[dev]'
	$(BIN)/python -m pip freeze --exclude archive-tagger --exclude torch > requirements.lock
