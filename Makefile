# `make demo` and `make test` need Python 3.11 to 3.13 and make, nothing else: they make .venv,
# install the project there once, and run. Another Python: `make demo PYTHON=python3.12`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export NO_MKDOCS_2_WARNING = 1

.PHONY: help demo test test-quick check docs bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo        train a small language model on text that Python ships, and try it"
	@echo "make test        every test"
	@echo "make test-quick  the tests that take seconds"
	@echo "make check       ruff, retired words, import contract, types, docs, tests: what CI runs"
	@echo "make docs        the documentation, into site/"
	@echo "make bench       the measurements, into benchmarks/results/"

demo: $(VENV)/.installed-demo
	$(BIN)/highnoon demo $(ARGS)

test: $(VENV)/.installed-dev
	$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),PATH="$(abspath $(BIN)):$$PATH" scripts/run_tests)

test-quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

check: $(VENV)/.installed-dev
	PATH="$(abspath $(BIN)):$$PATH" scripts/check $(ARGS)

docs: $(VENV)/.installed-dev
	$(BIN)/python -m mkdocs build --strict

# All but the one that needs an earlier commit to compare with.
bench: $(VENV)/.installed-dev
	failed=""; for script in $(filter-out benchmarks/compare_commits.py, $(wildcard benchmarks/*.py)); do $(BIN)/python $$script || failed="$$failed $$script"; done; \
	[ -z "$$failed" ] || { echo "error: failed:$$failed" >&2; exit 1; }

clean:
	rm -rf $(VENV) build dist site *.egg-info

# A stamp, so that a second run installs nothing: setup.cfg names all that is installed.
$(VENV)/.installed-demo: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[plots]'
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev,plots]'
	@touch $@ $(VENV)/.installed-demo

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
		echo "error: HighNoon needs Python 3.11, 3.12 or 3.13; \`$(PYTHON)\` is $$($(PYTHON) -V 2>/dev/null || echo missing)." \
			"Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@echo "Installing into $(VENV); the first time this fetches TensorFlow and takes some minutes."
