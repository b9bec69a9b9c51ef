# Two commands set up everything they need: `make sample` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help sample test lint docs clean

help:
	@echo 'make sample   train a small network on the shipped sample games (about 2 minutes)'
	@echo 'make test     run the tests'
	@echo 'make lint     formatting, lint, types, import rules'
	@echo 'make docs     rewrite the generated flag tables in docs/'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

sample: $(READY)
	$(BIN)/python samples/run.py

test: $(READY)
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) sample-run .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
