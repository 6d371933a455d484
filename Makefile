# `make` lists the targets. Each sets up what it needs; nothing is installed by hand.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
BENCH_SESSIONS ?= 10000
FUZZ_SECONDS ?= 120
SOAK_SECONDS ?= 600

PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo demo-pipecat test test-releases test-sdks test-fleet test-focus test-databases test-backends record-releases bench bench-instructions unreported fuzz soak prices gaps pipecat pipecat-classes pictures check coverage format lint types docs docs-serve clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(PIP) --editable ".[cli,livekit,otlp]"
	@touch $@

$(VENV)/.demo-pipecat: pyproject.toml | $(BIN)/python
	@$(BIN)/python -c 'import sys; sys.exit("Pipecat needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PIP) --editable ".[cli,otlp,pipecat]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.demo

$(VENV)/.backends: tests/backends/requirements.txt | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/backends
	$(VENV)/backends/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

demo: $(VENV)/.demo ## hold a phone call offline and print what it cost
	@$(BIN)/python -m otel_voice_cost.demo

demo-pipecat: $(VENV)/.demo-pipecat ## the same call with Pipecat, and the meters of its components
	@$(BIN)/python -m otel_voice_cost.demo.pipecat

test: $(VENV)/.dev ## run the tests
	$(BIN)/python -m pytest

test-releases: $(VENV)/.dev ## hold the test conversations on every release of LiveKit and Pipecat
	$(BIN)/nox --noxfile tests/noxfile.py --session sessions pipecat

test-sdks: $(VENV)/.dev ## run the tests of the pipeline on OpenTelemetry SDKs from 1.34
	$(BIN)/nox --noxfile tests/noxfile.py --session sdks

test-fleet: $(VENV)/.dev ## try the fleet examples on Prometheus (Debian's package) and ClickHouse (chdb)
	$(PIP) chdb
	$(BIN)/python -m pytest tests/test_fleet.py

test-focus: $(VENV)/.dev ## check exported charges with FinOps' own validator (Python 3.12)
	test -x $(VENV)/focus/bin/focus-validator || python3.12 -m venv $(VENV)/focus
	$(VENV)/focus/bin/python -m pip install --quiet --disable-pip-version-check 'focus-validator==2.2.1' 'pyarrow<21'  # needs NumPy 1
	FOCUS_VALIDATOR=$(abspath $(VENV)/focus/bin) $(BIN)/python -m pytest tests/analysis/test_focus.py

test-databases: $(VENV)/.dev ## read past calls from DuckDB, PostgreSQL (Debian's package) and ClickHouse (chdb)
	$(PIP) chdb
	$(BIN)/python -m pytest tests/analysis/test_databases.py

record-releases: $(VENV)/.dev ## record conversations of every LiveKit release for the tests
	$(BIN)/nox --noxfile tests/noxfile.py --session record

test-backends: $(VENV)/.dev $(VENV)/.backends ## send the demo call to real MLflow and Phoenix servers
	BACKENDS=$(abspath $(VENV)/backends/bin) $(BIN)/python -m pytest tests/backends --basetemp $(VENV)/backends-pictures

bench: ## measure spans, start-up, growth, stalls, and BENCH_SESSIONS sessions and past calls
	test -x $(VENV)/bench/bin/python || $(PYTHON) -m venv $(VENV)/bench
	$(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[analysis,livekit]" langsmith cachetools litellm
	$(VENV)/bench/bin/python benchmarks/spans.py
	$(VENV)/bench/bin/python benchmarks/start.py
	$(VENV)/bench/bin/python benchmarks/growth.py
	$(VENV)/bench/bin/python benchmarks/stalls.py
	$(VENV)/bench/bin/python benchmarks/streams.py
	$(VENV)/bench/bin/python benchmarks/million.py $(BENCH_SESSIONS)
	$(VENV)/bench/bin/python benchmarks/past_calls.py $(BENCH_SESSIONS)

bench-instructions: $(VENV)/.dev ## count the instructions of one span with valgrind (Debian's package)
	$(BIN)/python benchmarks/instructions.py

unreported: $(VENV)/.dev ## hold calls with vendors that meter, and print how close the estimates get
	$(BIN)/python -m pytest tests/sessions/test_unreported_calls.py --capture no --quiet

pipecat: $(VENV)/.dev ## hold calls on Pipecat with vendors that meter, and print what is on the spans
	$(BIN)/python -m pytest tests/pipecat/test_conversations.py --capture no --quiet

fuzz: $(VENV)/.dev ## throw anything at spans, reports and price sheets, for FUZZ_SECONDS
	$(PIP) atheris
	$(BIN)/python -m tests.faults.fuzz -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(VENV)/

prices: $(VENV)/.dev ## compare our prices with genai-prices, litellm and voice-prices
	$(PIP) --no-deps --upgrade --target $(VENV)/price-tables litellm voice-prices
	PYTHONPATH=.:$(VENV)/price-tables $(BIN)/python tests/compare_prices.py

gaps: $(VENV)/.dev ## make docs/gaps.md, the table of what is priced
	$(BIN)/voice-cost gaps --markdown > docs/gaps.md

pipecat-classes: $(VENV)/.dev ## read the service classes of the newest Pipecat into the package
	$(PIP) --upgrade pipecat-ai
	$(BIN)/python -m tests.pipecat_classes

pictures: $(VENV)/.dev $(VENV)/.backends ## make the pictures of the documentation (Debian's package chromium)
	$(PIP) playwright pillow
	$(BIN)/python benchmarks/report_pictures.py
	BACKENDS=$(abspath $(VENV)/backends/bin) PYTHONPATH=. $(BIN)/python benchmarks/demo_pictures.py

check: $(VENV)/.dev lint types ## everything the build runs; writes nothing
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal
	$(BIN)/zensical build --strict --config-file .mkdocs.yml

coverage: $(VENV)/.dev ## run the tests and list the lines that none of them reaches
	$(BIN)/python -m pytest --numprocesses 2 --cov --cov-report=term

soak: $(VENV)/.dev ## hold 50 simulated calls at once for SOAK_SECONDS
	$(BIN)/python benchmarks/soak.py $(SOAK_SECONDS)

lint: $(VENV)/.dev ## format check, lint, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.dev ## strict types, and the public API as mypy and pyright see it
	$(BIN)/mypy
	$(BIN)/mypy --strict tests/typing/public_api.py
	$(BIN)/basedpyright --pythonpath $(BIN)/python --level error tests/typing/public_api.py

format: $(VENV)/.dev ## the only target that edits files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## build the documentation into site/
	$(BIN)/zensical build --strict --config-file .mkdocs.yml

docs-serve: $(VENV)/.dev ## serve the documentation while you write
	$(BIN)/zensical serve --config-file .mkdocs.yml

clean: ## remove everything that the other targets made
	rm -rf $(VENV) .cache .coverage .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist site
