# `make` alone prints the menu. Everything is set up in .venv; nothing else is installed by hand.
PYTHON ?= python3
PORT ?= 8000
# Many tests wait for a timeout or for another process.
PROCESSES ?= 3
# Every test process and every process a test starts finds its modules compiled.
export PYTHONDONTWRITEBYTECODE :=
VENV := .venv
BIN := $(VENV)/bin
# The examples have a target of their own.
PYTEST = $(BIN)/python -m pytest --forks=$(PROCESSES) --ignore=tests/examples
# Settings load without anybody's .env.
LINT_ENV := DJANGO_ENV_FILE=/dev/null DEBUG=1 SECRET_KEY=lint DATABASE_URL=sqlite://:memory:
.DEFAULT_GOAL := help
.PHONY: help run test test-sqlite test-postgres test-browser test-browser-and-sqlite check lint prove bench docs examples matrix release lock clean

help: ## print this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/run.stamp: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@echo "Installing what it needs into $(VENV), once; this takes a minute …"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements.lock
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/run.stamp ## start console, API, worker and demo receivers on SQLite (PORT=8000); installs first, a minute
	@exec $(BIN)/python manage.py quickstart --port $(PORT)

test: $(VENV)/dev.stamp ## all tests on SQLite and on PostgreSQL, with browser and Node (some 8 minutes on two cores)
	@tests/install-tools.sh
	@$(MAKE) --no-print-directory -j2 test-postgres test-browser-and-sqlite PROCESSES=3

test-sqlite: $(VENV)/dev.stamp
	$(PYTEST) --db=sqlite -m "not browser"

test-postgres: $(VENV)/dev.stamp
	$(PYTEST) --db=postgres -m "not browser and not node and not once"

# Browsers wait more than they work, and PostgreSQL uses what they leave; SQLite needs both cores.
test-browser-and-sqlite: $(VENV)/dev.stamp
	@$(MAKE) --no-print-directory test-browser; browser=$$?; \
	$(MAKE) --no-print-directory test-sqlite && exit $$browser

# Playwright keeps an event loop running in its process; no other test can have one there.
test-browser: $(VENV)/dev.stamp
	$(PYTEST) --db=sqlite -m browser $(shell grep -rl --include="test_*.py" mark.browser tests)

# Its tests wait half of their time.
check: PROCESSES = 4
check: $(VENV)/dev.stamp ## before a commit: style, types, and rules, models, store, engine on SQLite (a minute)
	$(BIN)/ruff check .
	$(LINT_ENV) $(BIN)/mypy & types=$$!; \
	$(PYTEST) --db=sqlite -m "not browser and not node and not slow" \
	  tests/rules tests/models tests/store tests/engine; tests=$$?; \
	wait $$types && exit $$tests

lint: $(VENV)/dev.stamp ## style, types, import directions, migrations, known weaknesses (1 minute)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(LINT_ENV) $(BIN)/mypy
	$(BIN)/lint-imports
	$(LINT_ENV) $(BIN)/python manage.py makemigrations --check --dry-run
	.ci/audit

prove: $(VENV)/dev.stamp ## proofs too long for every run: kills, faults, fuzzing (hours)
	$(BIN)/python -m pytest --db=sqlite -m prove --run-prove --timeout=3600
	$(BIN)/python -m pytest --db=postgres -m prove --run-prove --timeout=3600

bench: $(VENV)/dev.stamp $(VENV)-bench/stamp ## measure beside rivals, print a table, write JSON (10 minutes, nothing else running)
	@tests/install-tools.sh bench
	$(BIN)/python -m tests.benchmarks
	$(if $(SCENARIOS),$(BIN)/python -m tests.benchmarks.scenarios $(SCENARIOS:all=))

# Frameworks of receivers and generators of clients, which nothing but the examples needs.
$(VENV)-examples/stamp: docs/examples/fastapi/requirements.txt tests/examples/requirements.txt
	$(PYTHON) -m venv $(VENV)-examples
	$(VENV)-examples/bin/python -m pip install --disable-pip-version-check -q -r docs/examples/fastapi/requirements.txt -r tests/examples/requirements.txt
	@touch $@

# The rivals of the benchmark; without them the table says so.
$(VENV)-bench/stamp: tests/benchmarks/rivals/requirements.txt
	$(PYTHON) -m venv $(VENV)-bench
	-$(VENV)-bench/bin/python -m pip install --disable-pip-version-check -q -r $< && touch $@

docs: $(VENV)/dev.stamp $(VENV)-docs/stamp ## build the pages as a site (build/site), check links, run their code blocks, follow the deploy page (5 minutes)
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict
	$(BIN)/python -m pytest tests/docs/blocks.py tests/docs/deploying.py

examples: $(VENV)/dev.stamp $(VENV)-examples/stamp ## start every receiver and client of docs/examples and use it (3 minutes)
	@tests/install-tools.sh examples
	$(BIN)/python -m pytest --run-prove tests/examples

matrix: $(VENV)/dev.stamp ## the core of the tests on each Python, Django and PostgreSQL that is supported and here (10 minutes each)
	$(BIN)/uv tool run -q nox==2026.10.20

release: $(VENV)/dev.stamp ## build sdist, wheel and bill of materials into dist/, install the wheel elsewhere and try it (2 minutes)
	rm -rf dist build
	$(BIN)/uv build -q --out-dir dist
	$(BIN)/uv tool run -q --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --of JSON -o dist/sbom.cdx.json requirements.lock
	$(BIN)/python -m pytest tests/release.py

$(VENV)-docs/stamp: requirements-docs.lock
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --disable-pip-version-check -q --require-hashes -r $<
	@touch $@

lock: $(VENV)/dev.stamp ## write the lock files anew
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --extra server --extra postgres --extra docs pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --extra server --extra postgres --extra docs --group dev --constraint requirements.lock pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --group pyproject.toml:site -o requirements-docs.lock

clean: ## remove the environment and what runs left behind (not the data)
	rm -rf $(VENV) $(VENV)-bench $(VENV)-docs $(VENV)-examples .pytest_cache .mypy_cache .ruff_cache .hypothesis .nox build *.egg-info
