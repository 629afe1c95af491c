# Everything one types here. `make demo` and `make test` set themselves up: an ordinary user, a fresh computer, no root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check sim planted bench chaos docs lock hooks peers clean

# The Pythons that every locked library has wheels for; `make PYTHON=/path/to/python3` names another.
PYTHONS := python3 python3.13 python3.12 python3.11 python3.14
PYTHON = $(shell for p in $(PYTHONS); do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && { command -v $$p; break; }; done)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip
SEEDS ?= 200
MINUTES ?= 10
EXTRAS := gateway orchestrator worker llm audio-to-text text-to-speech cli demo

help:                       ## what can be made
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' Makefile | expand -t 18

demo: .venv/demo            ## a whole network on this computer, answering real requests
	@.venv/bin/shoal up --demo

test: .venv/dev             ## every test
	@.venv/bin/python -m pytest

check: .venv/dev            ## style, types, imports and unit tests: what a commit must pass
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict src
	@.venv/bin/lint-imports
	@.venv/bin/python -m pytest -q tests/unit

sim: .venv/dev              ## the network under faults, SEEDS=200 times
	@.venv/bin/python -m shoal.sim --seeds $(SEEDS)

planted: .venv/dev          ## planted bugs, each of which the simulator must find
	@.venv/bin/python tests/simulation/planted/run.py

chaos: .venv/dev            ## real processes, killed and paused, for MINUTES=10
	@.venv/bin/python tests/process/chaos.py --minutes $(MINUTES)

bench: .venv/dev            ## how fast it is, beside others (benchmarks/README.md)
	@.venv/bin/python benchmarks/run.py

docs: .venv/dev             ## draw the tables of the machines into docs/architecture.md
	@.venv/bin/python docs/draw.py

hooks: .venv/dev            ## run `make check` before each commit
	@.venv/bin/pre-commit install

peers: .venvs/peers/made    ## an environment of its own for the peers of `make bench`

clean:                      ## forget the environments and caches; models and journals stay
	@rm -rf .venv .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Environments. A stamp is as old as the lock it was installed from, so nothing is installed twice.
.venv/made:
	@test -n "$(PYTHON)" || { echo "shoal needs Python 3.11 to 3.14, and found none: install one, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up: .venv, with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv || { echo "that Python cannot make an environment: install its venv package (on Debian: python3-venv)" >&2; exit 1; }
	@touch $@

.venv/demo .venv/dev: .venv/%: requirements/%.txt requirements/build.txt pyproject.toml .venv/made
	@echo "setting up: $$(grep -c == $<) packages of $<, each checked by its hash (some minutes the first time)"
	@$(PIP) install -qq --require-hashes --only-binary :all: -r requirements/build.txt -r $<
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

.venvs/%/made: requirements/%.txt
	@test -n "$(PYTHON)" || { echo "shoal needs Python 3.11 to 3.14, and found none: say make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up: .venvs/$*, $$(grep -c == $<) packages of $<"
	@$(PYTHON) -m venv --clear .venvs/$*
	@PIP_DISABLE_PIP_VERSION_CHECK=1 .venvs/$*/bin/python -m pip install -qq --require-hashes --only-binary :all: -r $<
	@touch $@

# Locks: docs/why/002-locks.md. The widest is made first and holds the others to its versions.
LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock"

lock: .venv/made            ## choose the newest versions and write requirements/*.txt again
	@$(PIP) install -qq uv
	@$(LOCK) pyproject.toml --upgrade --extra dev --output-file requirements/dev.txt
	@echo "hatchling" | $(LOCK) - --upgrade --constraints requirements/dev.txt --output-file requirements/build.txt
	@for extra in $(EXTRAS); do \
		$(LOCK) pyproject.toml --upgrade --extra $$extra --constraints requirements/dev.txt --output-file requirements/$$extra.txt; done
	@grep -c == requirements/*.txt
