# Everything one types here. `make demo` and `make test` set themselves up: a fresh computer, an ordinary user, no root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check sim planted lab bench train contracts escrow proto docs hooks lock clean

SEEDS ?= 200
LAB_SEEDS ?= 10
ESCROW ?= 2000
JUDGE ?= shoal or anvil

help:              ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: .venv/demo   ## a whole network on this computer, answering real requests
	@.venv/bin/shoal up --demo

test: .venv/dev .venvs/contracts/made .venvs/proto/made ## every test, two at a time
	@.venv/bin/python -m pytest -n 2 --dist worksteal

check: .venv/dev   ## style, types, imports and unit tests: what a commit must pass
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict src
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/python -m pytest -q tests/unit

sim: .venv/dev     ## the network under faults, once for each of SEEDS=200
	@.venv/bin/python -m shoal.sim --seeds $(SEEDS)

lab: .venv/dev     ## every policy and rival under every load, into docs/load.md: a quarter of an hour
	@nice -n 10 .venv/bin/shoal sim load all --seeds $(LAB_SEEDS) --out build/lab --page docs/load.md >/dev/null

planted: .venv/dev ## bugs planted on purpose, each of which the simulator must find
	@.venv/bin/python tests/simulation/planted/run.py

bench: .venv/dev .venvs/peers/made ## how fast it is, beside others: benchmarks/README.md
	@.venv/bin/python -m benchmarks.run

agree: .venv/dev   ## whether the simulator tells the truth: the same loads on real processes (a quarter of an hour)
	@.venv/bin/python -m benchmarks.agreement

train: .venvs/training/made ## train the picture model anew: hours of CPU; training/pictures/README.md
	@PYTHONPATH=training:src nice -n 19 .venvs/training/bin/python -m pictures.finer build/pictures
	@PYTHONPATH=training:src OMP_WAIT_POLICY=passive nice -n 19 \
		.venvs/training/bin/python -m pictures.train build/pictures
	@PYTHONPATH=training:src .venvs/training/bin/python -m pictures.export build/pictures build/pictures/made

contracts: .venvs/contracts/made ## compile src/shoal/chain/contracts/*.vy into the artifacts beside them
	@.venvs/contracts/bin/python src/shoal/chain/contracts/compile.py src/shoal/chain/contracts tests/contracts

escrow: .venv/dev  ## the contracts against their models, by ESCROW=2000 sequences of thirty calls: JUDGE=anvil is quick
	@ESCROW_SEQUENCES=$(ESCROW) nice -n 10 .venv/bin/python -m pytest -q -n auto -k "$(JUDGE)" \
		tests/property/test_escrow.py tests/property/test_stakes.py tests/property/test_payouts.py

proto: .venvs/proto/made ## compile src/shoal/wire/proto/net.proto into what the tests compare our messages with
	@.venvs/proto/bin/python -m grpc_tools.protoc -Isrc/shoal/wire/proto \
		--descriptor_set_out=tests/contract/net.binpb net.proto

docs: .venv/dev    ## draw the machines' tables into docs/architecture.md
	@.venv/bin/python docs/draw.py

hooks: .venv/dev   ## run `make check` before each commit
	@.venv/bin/pre-commit install

clean:             ## forget the environments and caches; models and journals stay
	@rm -rf .venv .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Environments. Each ends in a stamp, so that nothing is installed twice from the same lock.

# The first Python here that every locked library has wheels for; `make PYTHON=/path/to/python3` names another.
PYTHON = $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; \
	then command -v $$python; break; fi; done)
INSTALL = -m pip --disable-pip-version-check install -qq
LOCKED = $(INSTALL) --require-hashes --only-binary :all:

define environment
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 is needed: install one, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up $(1) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(1) \
		|| { echo "$(PYTHON) cannot make an environment: install its venv package (Debian: python3-venv)" >&2; exit 1; }
endef

.venv/python:
	$(call environment,.venv)
	@touch $@

.venv/demo .venv/dev: .venv/%: .venv/python requirements/%.txt requirements/build.txt pyproject.toml
	@echo "installing $$(grep -c == requirements/$*.txt) packages, each checked by its hash (a few minutes the first time)"
	@.venv/bin/python $(LOCKED) -r requirements/build.txt -r requirements/$*.txt
	@.venv/bin/python $(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# What quarrels with our own locks lives apart: requirements/NAME.in, locked in NAME.txt, installed in .venvs/NAME.
.venvs/%/made: requirements/%.txt
	$(call environment,.venvs/$*)
	@echo "installing $$(grep -c == $<) packages, each checked by its hash (a few minutes the first time)"
	@.venvs/$*/bin/python $(LOCKED) -r $<
	@touch $@

# PyTorch's builds differ from computer to computer, so it is pinned by version alone; the rest as everything else.
.venvs/training/made: requirements/training.txt
	$(call environment,.venvs/training)
	@.venvs/training/bin/python $(INSTALL) torch==2.13.0
	@.venvs/training/bin/python $(LOCKED) -r $<
	@touch $@

# Anvil, against which the local chain is judged: npm packs its binary, and checks what it gets. Tests that want it
# look for it here, on the path and in $SHOAL_ANVIL, and are skipped by name without it.
.venvs/anvil/made:
	@command -v npm >/dev/null || { echo "anvil comes from npm: install npm first" >&2; exit 1; }
	@mkdir -p .venvs/anvil
	@npm install --silent --no-save --no-package-lock --prefix .venvs/anvil @foundry-rs/anvil@1.7.1
	@touch $@

# Locks (docs/why/002-locks.md). The widest comes first and holds the others to its versions.
EXTRAS = gateway redeemer signer wallet orchestrator worker llm audio-to-text text-to-speech text-to-image image-to-image image-to-video \
	image-to-text segment-anything-2 upscale embeddings chain cli lab demo
COMPILE = .venv/bin/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command "make lock"

lock: .venv/python ## write requirements/*.txt after a change; UPGRADE=1 takes the newest versions
	@.venv/bin/python $(INSTALL) uv
	@$(COMPILE) pyproject.toml --extra dev -o requirements/dev.txt
	@for extra in $(EXTRAS); do \
		$(COMPILE) pyproject.toml --extra $$extra -c requirements/dev.txt -o requirements/$$extra.txt; done
	@for apart in requirements/*.in; do $(COMPILE) $$apart -o $${apart%.in}.txt; done
	@grep -c == requirements/*.txt
