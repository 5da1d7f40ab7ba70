# Two commands matter: `make demo` shows the service at work, `make test` checks everything.
# ENGINE says which vLLM is installed, the CPU build or the one for CUDA: gpu where there is an NVIDIA driver.
ENGINE ?= $(if $(shell command -v nvidia-smi),gpu,cpu)
PYTHON ?= python3
BIN := .venv/bin
# Minutes of random faults in `make test-faults`.
SOAK ?= 30
HARNESS := build/harness

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-faults test-load harness lint lock clean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

test-faults: install  ## every fault, and half an hour of them at random: the table of docs/reliability.md
	@$(BIN)/python -m pytest tests/faults -m "stack or faults" --soak-minutes $(SOAK) --outcomes docs/reliability.md

test-load: install  ## the heavier runs, on a stack that it leaves up: many connections, ten minutes of load, overhead, the harness
	@MULL_DOORS__TOKENS_IN_FLIGHT=100000 MULL_DOORS__TOKENS_WAITING=400000 $(BIN)/mull up --detach
	@$(BIN)/python -m benchmarks.connections --deadline 15
	@$(BIN)/python -m benchmarks.load --minutes 10 --in-flight 64
	@$(BIN)/python -m benchmarks.gateway_overhead
	@$(MAKE) --no-print-directory harness

# What lm-evaluation-harness needs is not in our locks: it has an environment of its own.
$(HARNESS)/bin/lm_eval: benchmarks/harness/requirements.txt
	@$(PYTHON) -m venv $(HARNESS)
	@$(HARNESS)/bin/pip install --quiet --requirement $<
	@touch $@

harness: $(HARNESS)/bin/lm_eval  ## lm-evaluation-harness on the stack of `make serve`: 200 held-out problems
	@for effort in minimal medium; do HF_HUB_OFFLINE=1 $< --model local-chat-completions \
		--model_args model=tiny,base_url=http://127.0.0.1:8080/v1/chat/completions,num_concurrent=8,max_retries=2 \
		--tasks mull_heldout --include_path benchmarks/harness --apply_chat_template --limit 200 \
		--gen_kwargs reasoning_effort=$$effort || exit 1; done

lock: install  ## resolve the locks again, with the newest versions that fit
	@$(BIN)/python -m deploy.lock

clean:  ## remove .venv and everything made by tools
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
