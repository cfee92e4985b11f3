PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Tests start the program many times: bytecode that is kept saves a fifth of their time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check format lock docs bench fuzz chaos soak clean

demo: $(READY)
	$(BIN)/auditor demo

test: $(READY)
	# A part handed out at once is short: else one process would end long after the others.
	$(BIN)/pytest -n 4 --maxschedchunk 50

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m auditor.docs --check

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)
	$(BIN)/python -m auditor.docs

bench: $(READY)
	$(BIN)/python tests/bench/sweep.py

# What `make test` tries, for so many seconds each test, two at a time: five minutes in all, in bounded memory.
fuzz: export AUDITOR_FUZZ_SECONDS ?= 45
fuzz: $(READY)
	ulimit -v 4000000 && $(BIN)/pytest -n 2 tests/fuzz

# Each fault so many times, and as many kills; AUDITOR_CHAOS_SEED repeats what a run printed.
chaos: export AUDITOR_CHAOS_ROUNDS ?= 100
chaos: $(READY)
	$(BIN)/pytest -n 2 -rP tests/chaos

# AUDITOR_SOAK_MINUTES says how long; an hour where it does not.
soak: $(READY)
	$(BIN)/python -m tests.chaos.soak

COMPILE := $(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

lock: $(READY)
	$(COMPILE) --build-deps-for wheel --constraint constraints.txt --output-file requirements.lock pyproject.toml
	$(COMPILE) --all-extras --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "auditor needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) build dist
