# The two commands: make demo, make test. The rest is for those who work on stacpin: see CONTRIBUTING.md.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long test-quick lint format browser bench bench-api bench-store clean

SERVE ?= 1
PYTEST_WORKERS ?= auto
BIN := .venv/bin

help: ## show this
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: .venv/.synced ## make the environment from the lock file

.venv/.synced: pyproject.toml uv.lock tools/setup.sh
	@sh tools/setup.sh

demo: setup ## the main job on real data, then API and STAC Browser (SERVE=0 ends after the job; PORT=8080: that port or none)
	@if [ "$(SERVE)" != 0 ]; then sh tools/with_node.sh sh api/browser/build.sh || echo "going on without STAC Browser"; fi
	@$(BIN)/python -m stacpin.demo --serve $(SERVE) $(if $(PORT),--port $(PORT))

test: setup ## all tests, with the coverage of the version store
	@sh tools/test_packages.sh
	@sh tools/with_node.sh sh api/browser/build.sh || echo "STAC Browser is not built: its tests will be skipped"
	$(BIN)/coverage erase
	sh tools/with_node.sh $(BIN)/pytest -n $(PYTEST_WORKERS) --dist worksteal --cov --cov-branch --cov-report=
	$(BIN)/coverage report --include='versioning/*' --fail-under=95

test-long: setup ## the store's tests in their long profile, then an hour of its state machine (STACPIN_LONG_MINUTES, STACPIN_LONG_SEED)
	$(BIN)/python tools/test_long.py

test-quick: setup ## all tests but those of servers and browsers
	sh tools/with_node.sh $(BIN)/pytest -n $(PYTEST_WORKERS) --dist worksteal -m "not slow"

lint: setup ## ruff, pyright, the import contract
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

browser: setup ## build STAC Browser from its npm package
	sh tools/with_node.sh sh api/browser/build.sh

bench: setup ## the benchmarks that are quick
	for each in benchmarks/*.py; do $(BIN)/python $$each || exit 1; done

TILES ?= 5000
ROUNDS ?= 3
ITEMS ?= 10000,100000
SCRATCH ?= $(or $(TMPDIR),/tmp)/stacpin-bench

bench-store: setup ## the version store against DVC, and as it grows (TILES=20000 ROUNDS=3 ITEMS=1000000 SCRATCH=DIR; KEEP=1 notes it in RESULTS.md)
	$(BIN)/python -m benchmarks.store.against_dvc --tiles $(TILES) --rounds $(ROUNDS) --scratch $(SCRATCH) $(if $(KEEP),--keep)
	$(BIN)/python -m benchmarks.store.growth --items $(ITEMS) --scratch $(SCRATCH) $(if $(KEEP),--keep)

BENCH_ITEMS ?= 100000
GROWN ?= 100000

bench-api: setup ## the API on its index against stock stac-fastapi-pgstac (BENCH_ITEMS=100000 GROWN=1000000; KEEP=1 notes it in RESULTS.md)
	@sh tools/test_packages.sh
	$(BIN)/python -m benchmarks.api.against_stock --items $(BENCH_ITEMS) --grown $(GROWN) $(if $(KEEP),--keep)

clean: ## remove what was made here
	rm -rf .venv .tools .demo .pytest_cache .ruff_cache .hypothesis .import_linter_cache api/browser/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
