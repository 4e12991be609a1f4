# Everything is set up from nothing: Python 3.11 or later, make and a package index are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
DEMO ?= demo-output
MINUTES ?= 10
MOMENTS ?= 20

.PHONY: demo test fuzz faults lint types check format docs clean

demo: $(STAMP)  ## Simulate, align and average phantoms, and write a report (under 3 minutes on 2 cores).
	$(BIN)/gumnet demo --out $(DEMO) --overwrite

test: $(STAMP)  ## Run the tests.
	$(BIN)/python -m pytest -n $(WORKERS)

fuzz: $(STAMP)  ## Give damaged files to all readers for MINUTES; what they do not refuse in a line goes to build/fuzz.
	GUMNET_FUZZ_MINUTES=$(MINUTES) $(BIN)/python -m pytest tests/fuzz

faults: $(STAMP)  ## Kill commands at MOMENTS moments each, and workers of all kinds: an hour or so.
	GUMNET_FAULTS=$(MOMENTS) $(BIN)/python -m pytest tests/faults tests/engine

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types test

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs  ## Build the pages into build/site; a dead link is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"gumnet needs Python 3.11 or later; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.11")'
	@echo 'Setting up $(VENV), once: this downloads and unpacks torch and others, and says nothing for a minute or more.'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) build/site .mypy_cache .pytest_cache .ruff_cache
