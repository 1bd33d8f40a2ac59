# Every target makes .venv first, out of any Python 3.11 or newer. To choose one: make PYTHON=...

PYTHON ?= python3
ARGS ?=
ROUNDS ?= 100
# Tests wait for processes more than they compute.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )))
SEED ?=

VENV := .venv
STAMP := $(VENV)/.stamp
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
.PHONY: help demo test node check fix bench bundle hosts chaos powercut clean

help:
	@echo "make demo    watch a real client run a test suite as a background job"
	@echo "make test    run the tests           (ARGS='tests/unit -k name' for some of them)"
	@echo "make node    install Node and the foreign clients that tests use, into the user's cache"
	@echo "make check   format, lint, types, layers, file rules"
	@echo "make fix     let ruff format and repair what it can"
	@echo "make bench   run the benchmarks and write benchmarks/RESULTS.md"
	@echo "make bundle  write the bundle for Claude Desktop into dist/"
	@echo "make hosts   try real hosts from npm (about 1 GB, once)"
	@echo "make chaos   kill, stop, remove, lock and copy at random (ROUNDS=1000 SEED=1)"
	@echo "make powercut  cut the power of a home on a loop device, as root (ROUNDS=50 SEED=1)"
	@echo "make clean   remove .venv, caches and build output"

demo: $(STAMP)
	@$(RUN) examples/demo.py $(ARGS)

test: $(STAMP)
	@$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

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
	@python=''; bare=''; \
	for candidate in $(CANDIDATES); do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then \
	            python="$$candidate"; break; \
	        fi; \
	        bare="$${bare:-$$candidate}"; \
	    fi; \
	done; \
	if [ -z "$$python" ] && [ -n "$$bare" ]; then \
	    version=$$("$$bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "mcp_jobs: $$bare cannot make a virtual environment, its ensurepip is missing." >&2; \
	    echo "On Debian and Ubuntu: apt install python$$version-venv" >&2; \
	    exit 1; \
	fi; \
	if [ -z "$$python" ]; then \
	    echo "mcp_jobs needs Python 3.11 or newer; none of these is: $(CANDIDATES)" >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	if ! $(RUN) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv --clear $(VENV) || exit 1; \
	fi; \
	echo "Installing what mcp_jobs and its tests need into $(VENV)"; \
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
