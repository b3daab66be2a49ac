# Everything a fresh machine needs is Python 3.11 or newer and make.
PYTHON ?= python3
UV := .uv/bin/uv
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
# Where an image switches it off, every process compiles all that it imports anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo test test-clients lint lock bench docs clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.installed  ## Make .venv from the lock files (hashes checked)

$(UV): requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Hullspeed needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv --clear .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

.venv/.installed: $(UV) requirements-dev.lock pyproject.toml
	$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## Run the main job: proxy, replay, leaderboard and report (no keys needed)
	$(BIN)/hullspeed demo

lint: install  ## Formatting, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Three workers on two cores: the tests wait for processes and sockets about as much as they compute.
test: lint  ## Lint and the whole test suite
	$(BIN)/pytest -n 3 --dist loadgroup -rs

# LangChain and LlamaIndex ask for older versions of packages that Hullspeed uses: they get an environment of their own.
test-clients: install  ## Run the snippets of docs/frameworks.md with LangChain and LlamaIndex
	$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv-clients
	$(UV) pip install --quiet --python .venv-clients/bin/python langchain-openai llama-index-llms-openai-like
	HULLSPEED_CLIENTS_PYTHON=$(CURDIR)/.venv-clients/bin/python $(BIN)/pytest tests/test_docs.py -k frameworks

docs: install  ## Build the documentation in build/docs
	$(BIN)/python docs/reference.py
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/docs
	@echo "Open build/docs/index.html"

bench: install  ## Print the figures of benchmarks/
	$(BIN)/python -m benchmarks.golden
	$(BIN)/python -m benchmarks.replay
	$(BIN)/python -m benchmarks.scoring_speed
	$(BIN)/python -m benchmarks.routers
	$(BIN)/python -m benchmarks.killed
	$(BIN)/python -m benchmarks.chaos
	$(BIN)/python -m benchmarks.fuzz

# A package younger than a week is not taken: most malicious uploads are found within days.
lock: $(UV)  ## Resolve the lock files anew
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --exclude-newer "$$(date -u -d '7 days ago' +%Y-%m-%dT00:00:00Z)" pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --exclude-newer "$$(date -u -d '7 days ago' +%Y-%m-%dT00:00:00Z)" pyproject.toml --group pyproject.toml:dev -c requirements.lock -o requirements-dev.lock
	echo "uv==0.13.8" | $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 - -o requirements-uv.lock

clean:  ## Remove the environments and caches
	rm -rf .venv .venv-clients .uv .mypy_cache .ruff_cache .pytest_cache build dist
