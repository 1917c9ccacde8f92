# Every verb is the same here and in CI. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FANGCUAN_REAL_DATA ?= $(wildcard ../shared/data)
export FANGCUAN_REAL_DATA
# What one process has compiled the next one reads: without it each of the many that tests start compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install run run-real test test-all check fmt bench quality quality-quick docs lock clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/uv: requirements/uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	@touch $@

$(VENV)/.installed: $(BIN)/uv requirements/all.lock pyproject.toml
	@echo "installing from requirements/all.lock"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/all.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

install: $(VENV)/.installed ## install everything into .venv from the lock files

run: install ## run the nights of a sample world, the last ones through Airflow, and show the cases
	@$(BIN)/python -m fangcuan.flow.showcase sample

run-real: install ## the same over the real public sets (FANGCUAN_REAL_DATA)
	@$(BIN)/python -m fangcuan.flow.showcase real

test: install ## run the tests
	@$(BIN)/python -m pytest -q -n 2 -m "not slow"

test-all: install ## run the tests that take long as well
	@$(BIN)/python -m pytest -q

check: install ## lint, types, content
	@$(BIN)/ruff check src tests dags benchmarks
	@$(BIN)/ruff format --check src tests dags benchmarks
	@$(BIN)/mypy
	@$(BIN)/fangcuan check

fmt: install ## format the code
	@$(BIN)/ruff check --fix src tests dags benchmarks
	@$(BIN)/ruff format src tests dags benchmarks

bench: install ## run the benchmarks into benchmarks/results
	@$(BIN)/python benchmarks/diversion_core.py --serials 20_000_000 --sightings 500_000
	@$(BIN)/python benchmarks/diversion_core.py --serials 200_000_000 --sightings 5_000_000
	@$(BIN)/python benchmarks/audit_verify.py
	@$(BIN)/python benchmarks/claim_next.py
	@$(BIN)/python benchmarks/page.py

quality: install ## measure the rules of practice on every family of worlds and write docs/quality.md
	@$(BIN)/fangcuan quality --out benchmarks/results/quality_baselines.json
	@$(BIN)/python benchmarks/quality_page.py

quality-quick: install ## the same on three families, printed only
	@$(BIN)/fangcuan quality --quick

docs: install ## write docs/reference from the code
	@$(BIN)/python -m fangcuan.cli.reference docs/reference

lock: $(BIN)/uv ## renew the lock files
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--extra airflow --extra dev --custom-compile-command "make lock" pyproject.toml -o requirements/all.lock --upgrade
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-annotate \
		--extra airflow -c requirements/all.lock --custom-compile-command "make lock" pyproject.toml -o requirements/engine.lock --upgrade
	@grep -E '^(apache-airflow[a-z-]*|psycopg)==' requirements/all.lock | cut -d' ' -f1 | \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-annotate \
		-c - --custom-compile-command "make lock" requirements/accounts.in -o requirements/accounts.lock --upgrade
	@echo uv | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" - -o requirements/uv.lock --upgrade

clean: ## remove what was made
	rm -rf $(VENV) var dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
