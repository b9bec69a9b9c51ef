# Two commands set up everything they need: `make sample` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# BigQuery's emulator needs versions that our own environment cannot have.
BIGQUERY := .venv-bigquery
BIGQUERY_READY := $(BIGQUERY)/.ready

# How long `make fuzz` goes on, and the one kind of file it is to damage (all when empty).
FUZZ_SECONDS ?= 3600
FUZZ ?=

.PHONY: help sample test chaos fuzz lint docs clean

help:
	@echo 'make sample   train a small network on the shipped sample games (about 2 minutes)'
	@echo 'make test     run the tests'
	@echo 'make chaos    kill training at 300 random moments (about 10 minutes)'
	@echo 'make fuzz     damage files of every kind for an hour (FUZZ_SECONDS=60, FUZZ=onnx)'
	@echo 'make lint     formatting, lint, types, import rules'
	@echo 'make docs     rewrite the generated flag tables in docs/'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Its home holds the DuckDB extension, which it would otherwise download when it starts.
$(BIGQUERY_READY): tests/bigquery-constraints.txt
	$(PYTHON) -m venv $(BIGQUERY)
	$(BIGQUERY)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c tests/bigquery-constraints.txt \
		bqemulator duckdb-extensions duckdb-extension-spatial numpy
	mkdir -p $(BIGQUERY)/home
	HOME=$(CURDIR)/$(BIGQUERY)/home $(BIGQUERY)/bin/python -c \
		'from duckdb_extensions import import_extension; import_extension("spatial")'
	touch $@

sample: $(READY)
	$(BIN)/python samples/run.py

test: $(READY) $(BIGQUERY_READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal

chaos: $(READY)
	$(BIN)/python tests/chaos.py --rounds 300

fuzz: $(READY)
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --seconds $(FUZZ_SECONDS) --target '$(FUZZ)'

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) $(BIGQUERY) sample-run .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
