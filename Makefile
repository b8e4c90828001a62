# Nothing has to be installed by hand: every target that needs Python packages makes the virtual environment first.

# The first Python from 3.11 on that runs and can make environments; `make PYTHON=/path/to/python venv` names another.
IS_USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	$$name -c '$(IS_USABLE)' 2>/dev/null && { echo $$name; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
PACKAGES := $(wildcard client/pyproject.toml sdk/pyproject.toml)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help venv demo up down test test-slow nightly check check-static format bench lock clean erase

help:
	@echo "make demo    run a real batch on a small fleet of car clients, and check its result"
	@echo "make up      serve portal, console, API and workers until Ctrl-C"
	@echo "make test    run the tests"
	@echo "make check   format, lint, types, import rules, migrations, then the tests"
	@echo "make bench   run the benchmarks"
	@echo "make clean   remove what tools have built; make erase also removes data and keys"

demo: $(RUNTIME)
	@$(BIN)/python -m bench.demo

up: $(RUNTIME)
	@exec $(BIN)/python -m fleetcompute.embedded up

down: $(RUNTIME)
	@$(BIN)/python -m fleetcompute.embedded down

test: $(DEV)
	$(BIN)/python -m pytest

test-slow: $(DEV)
	$(BIN)/python -m pytest -m slow --timeout 1800

# What takes too long for every change: a large corpus of hostile models against both sandboxes.
nightly: $(DEV)
	$(BIN)/python -m bench hostile --models 5000

check: check-static test

check-static: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(RUNTIME)
	@$(BIN)/python -m bench

venv: $(DEV)

$(RUNTIME): requirements.txt requirements-demo.txt $(PACKAGES)
	@test -x $(BIN)/python || $(or $(PYTHON),false) -c '$(IS_USABLE)' 2>/dev/null || { \
		echo "Python 3.11 or newer with its venv module is needed (make PYTHON=/path/to/python)." >&2; exit 1; }
	@echo "Installing the requirements into $(VENV); the first time takes some minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --require-hashes --no-deps -r requirements-demo.txt
	@for package in $(PACKAGES); do $(PIP) install --no-deps --no-build-isolation -e "$$(dirname $$package)" || exit 1; done
	@touch $@

$(DEV): $(RUNTIME) requirements-dev.txt
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

# For maintainers: pins the newest versions that the input files allow. Needs uv (https://docs.astral.sh/uv).
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
		--custom-compile-command "make lock" requirements.in -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
		--custom-compile-command "make lock" requirements-dev.in -o requirements-dev.txt

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist demo-output bench-results
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

erase: $(RUNTIME) clean
	$(BIN)/python -m fleetcompute.embedded erase
