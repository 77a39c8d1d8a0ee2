# Two commands for a bare machine with python3 (3.11 to 3.13) and make:
#
#   make demo    images that follow their prompt better, and a table that says by how much
#   make test    the tests
#
# and `make studio`, the same in a browser; `make lint`. Everything is installed in .venv, once; another Python: make demo PYTHON=python3.12
# On Linux without a GPU a smaller torch is enough:
#   make demo PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Twice quiet: errors only; one --quiet still tells of every index that lacks a package.
INSTALL = $(BIN)/pip install --quiet --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint studio
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/dymo demo

# One thread a worker: the workers fill the cores.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing dymo in $(VENV) (a few minutes, once) ..."
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing dymo and its tools in $(VENV) (a few minutes, once) ..."
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.installed

studio: $(VENV)/.installed-studio
	$(BIN)/dymo studio

$(VENV)/.installed-studio: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing dymo and its studio in $(VENV) (a few minutes, once) ..."
	@$(INSTALL) -e '.[studio]'
	@touch $@ $(VENV)/.installed
