# Two commands matter: `make demo` shows the service at work, `make test` checks everything.
# ENGINE says which vLLM is installed, the CPU build or the one for CUDA: gpu where there is an NVIDIA driver.
ENGINE ?= $(if $(shell command -v nvidia-smi),gpu,cpu)
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo serve test lint lock clean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install:  ## make .venv from the lock (does nothing when it is up to date)
	@$(PYTHON) -m deploy.install $(ENGINE)

demo: install  ## start the stack, solve ten held-out problems, print the table, stop the stack
	@$(BIN)/mull demo

serve: install  ## start the stack, print a request to try, leave it up on 127.0.0.1:8080
	@$(BIN)/mull up --detach

lint: install  ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: lint  ## lint, then every test, the ones on the running stack included
	@$(BIN)/python -m pytest

lock: install  ## resolve the locks again, with the newest versions that fit
	@$(BIN)/python -m deploy.lock

clean:  ## remove .venv and everything made by tools
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
