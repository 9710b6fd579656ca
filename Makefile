# Each target does its own set-up: a virtual environment, pinned packages, Debian's tools for the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?= .demo
JOBS   ?= 2
FUZZ   := log gzip zstd v2 ring keys manifest note proof
FUZZ_SECONDS ?= 60

.PHONY: help run test lint bench soak docs clean
.DEFAULT_GOAL := help

help:
	@echo "make run     the demonstration: an installation, the environment, a staged incident (DEMO=$(DEMO))"
	@echo "make test    all tests, real Prometheus and Alertmanager included"
	@echo "make lint    ruff, mypy, import-linter, generated files"
	@echo "make bench   measurements beside their peers and limits"
	@echo "make soak    the long crash tests, every bit flip of a log, fuzzing by coverage"
	@echo "make docs    write the generated runbooks and monitoring files again"

run: $(VENV)/.run-ready
	@$(BIN)/stage4 demo $(DEMO) || [ $$? -eq 130 ]  # Ctrl-C is how it ends

test: $(VENV)/.dev-ready .tools/.ready
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests

lint: $(VENV)/.dev-ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/source_rules.py

bench: $(VENV)/.dev-ready
	@for file in bench/bench_*.py; do $(BIN)/python $$file || exit 1; done

soak: $(VENV)/.soak-ready .tools/.ready
	@STAGE4_SOAK=1 $(BIN)/python -m pytest -p no:randomly tests/crash tests/unit/test_decisionlog_bitflips.py
	@for target in $(FUZZ); do $(BIN)/python tests/fuzz/explore.py $$target --seconds $(FUZZ_SECONDS) || exit 1; done

docs: $(VENV)/.dev-ready
	@$(BIN)/python tools/generate_docs.py
	@$(BIN)/python tools/certificate_corpus.py

clean:
	rm -rf $(VENV) .tools build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Stage4 needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1)"; \
	    echo "hint: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "error: $(PYTHON) cannot make a virtual environment"; \
	    echo "hint: on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }

$(VENV)/.run-ready: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Setting up the pinned packages (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev-ready: requirements/dev.txt $(VENV)/.run-ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.soak-ready: requirements/soak.txt $(VENV)/.dev-ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/soak.txt
	@touch $@

.tools/.ready: tools/fetch_tools.py
	@$(PYTHON) tools/fetch_tools.py
	@mkdir -p .tools && touch $@
