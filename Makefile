# Every target makes .venv first, with uv if it is there, from any Python 3.11 or newer. To choose
# one: make PYTHON=...

PYTHON ?= python3
ARGS ?=
ROUNDS ?= 100
CORES := $(shell getconf _NPROCESSORS_ONLN)
# Tests wait for processes as long as they compute.
WORKERS ?= $(shell echo $$(( $(CORES) * 2 )))
SEED ?=

VENV := .venv
STAMP := $(VENV)/.stamp
DEMO_STAMP := $(VENV)/.demo-stamp
BIN := $(VENV)/bin
RUN := $(BIN)/python

SOURCES := $(wildcard mcp_jobs tests benchmarks scripts examples)

# A PYTHON that was asked for is the only candidate; the default may fall back to a newer name.
ifeq ($(origin PYTHON),file)
CANDIDATES := $(PYTHON) python3.14 python3.13 python3.12 python3.11
else
CANDIDATES := $(PYTHON)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test quick node check fix bench bundle plugin dist lock hosts chaos powercut clean

help:
	@echo "make demo    watch a real client run a test suite as a background job"
	@echo "make test    run the tests           (ARGS='tests/unit -k name' for some of them)"
	@echo "make quick   run the tests that start no process, in less than a minute"
	@echo "make node    install Node and the foreign clients that tests use, into the user's cache"
	@echo "make check   format, lint, types, layers, file rules"
	@echo "make fix     let ruff format and repair what it can"
	@echo "make bench   run the benchmarks and write benchmarks/RESULTS.md"
	@echo "make bundle  write the bundle for Claude Desktop into dist/"
	@echo "make plugin  write the plugin for Claude Code into dist/claude-plugin/"
	@echo "make dist    build the sdist and the wheel of what is committed into dist/"
	@echo "make lock    lock the dependencies of releases and of the image anew"
	@echo "make hosts   try real hosts from npm (about 1 GB, once)"
	@echo "make chaos   kill, stop, remove, lock and copy at random (ROUNDS=1000 SEED=1)"
	@echo "make powercut  cut the power of a home on a loop device, as root (ROUNDS=50 SEED=1)"
	@echo "make clean   remove .venv, caches and build output"

# Whoever has the tests' packages has the demo's.
demo: $(or $(wildcard $(STAMP)),$(DEMO_STAMP))
	@$(RUN) examples/demo.py $(ARGS)

test: $(STAMP)
	@$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

# The folders in which no test starts a process: tests/conftest.py sees to that.
quick: $(STAMP)
	@$(RUN) -m pytest -n $(CORES) --dist worksteal -m 'not processes' \
	    tests/contracts tests/store tests/unit $(ARGS)

node: $(STAMP)
	@$(RUN) -m tests.npm

check: $(STAMP)
	@failed=''; \
	run() { \
	    name="$$1"; shift; \
	    echo "== $$name"; \
	    "$$@" || failed="$$failed $$name"; \
	}; \
	run format $(RUN) -m ruff format --check $(SOURCES); \
	run lint $(RUN) -m ruff check $(SOURCES); \
	run types $(RUN) -m mypy --strict $(SOURCES); \
	run layers $(BIN)/lint-imports --no-logo; \
	run rules $(RUN) scripts/check_rules.py; \
	if [ -n "$$failed" ]; then echo "== failed:$$failed"; exit 1; fi; \
	echo "== all checks passed"

fix: $(STAMP)
	@$(RUN) -m ruff format $(SOURCES)
	@$(RUN) -m ruff check --fix $(SOURCES)
	@$(RUN) -m ruff format $(SOURCES)

bench: $(STAMP)
	@$(RUN) -m benchmarks --write $(ARGS)

bundle: $(STAMP)
	@$(RUN) scripts/bundle.py

plugin: $(STAMP)
	@$(RUN) -m scripts.plugin

# A clone has what is committed and nothing else.
dist: $(STAMP)
	@rm -rf build/release
	@git clone --quiet . build/release
	@$(BIN)/uv build --quiet --require-hashes --out-dir dist \
	    --build-constraints build/release/requirements/build.txt build/release
	@ls dist

lock: $(STAMP)
	@$(RUN) scripts/lock.py

hosts: $(STAMP) .hosts/.stamp
	@$(RUN) -m pytest tests/hosts $(ARGS)

.hosts/.stamp: tests/hosts/package.json
	@mkdir -p .hosts
	@cp tests/hosts/package.json .hosts/package.json
	@npm install --prefix .hosts --no-audit --no-fund --loglevel=error
	@touch $@

chaos: $(STAMP)
	@$(RUN) -m tests.chaos --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

powercut: $(STAMP)
	@$(RUN) -m tests.chaos.powercut --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

clean:
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
	    .hypothesis
	@find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	@sh scripts/setup.sh dev $(CANDIDATES)
	@touch $@

$(DEMO_STAMP): pyproject.toml
	@sh scripts/setup.sh demo $(CANDIDATES)
	@touch $@
