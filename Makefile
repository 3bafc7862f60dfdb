# Bare `make` lists the tasks. Each one sets up what it needs.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo up test nightly chaos check lint format bench lock clean

help: ## list the tasks
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: .venv/runtime ## run the whole service on this machine with live made-up traffic (HISTORY=days of past)
	$(BIN)/cutover demo --history $(or $(HISTORY),14)

up: .venv/runtime ## run the whole service on this machine for your own traffic
	$(BIN)/cutover up

test: .venv/dev ## run the tests, several files at a time
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

nightly: .venv/dev ## 10,000 examples of each property of reading and scoring, 200,000 broken records
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest tests/test_formats.py tests/test_protocols.py \
	  tests/test_sse.py tests/test_score.py tests/test_quality.py tests/test_conversation.py tests/test_fuzz.py

chaos: .venv/dev ## strike the running pipeline with faults, then count everything (BROKER=apache|embedded FAULTS=200 SEED=7)
	PYTHONPATH=.:tests $(BIN)/python tests/chaos.py --broker $(or $(BROKER),apache) --faults $(or $(FAULTS),20) $(and $(SEED),--seed $(SEED))

check: lint test ## lint, types and tests

lint: .venv/dev ## ruff, format and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev ## measure speed on this machine (ONLY="score tap": some of it)
	PYTHONPATH=.:tests $(BIN)/python -m bench $(ONLY)

lock: .venv/dev ## resolve the dependencies anew into the two lock files
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --upgrade pyproject.toml --extra dashboard --extra embedded --extra report --extra parquet --group build -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --upgrade pyproject.toml --all-extras --group build --constraint requirements.lock -o requirements-dev.lock

clean: ## remove the virtual environment and the data of the one-machine service
	rm -rf .venv .cutover

.venv/python: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Cutover needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/runtime: .venv/python requirements.lock
	@echo "Installing into .venv: about 1.5 GB, a minute or more ..."
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: .venv/runtime requirements-dev.lock
	@echo "Installing what tests need into .venv ..."
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
