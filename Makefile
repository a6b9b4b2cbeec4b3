# What CI runs is what these targets run; `.ci/run` only calls them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help
.PHONY: help setup check chart images test test-cluster test-fast test-services test-worker soak soak-seeds soak-races soak-predictions soak-requests soak-schedules soak-rounds soak-endurance soak-imports soak-upgrades demo protos bench parts clean

PYPROJECTS := $(shell git ls-files '*pyproject.toml')
# Options for pytest, such as ARGS="tests/kit -k pages".
ARGS ?=
# Processes share the files with tests, more of them than cores: much of a test's time goes into waiting for servers.
SHARED := --dist loadfile --no-loadscope-reorder
# Which of the tests on a cluster.
CLUSTER ?= tests/cluster --ignore tests/cluster/test_upgrades.py
NAME ?= *
ROUNDS ?= 100
IMPORTS ?= 200
REQUESTS ?= 10000
SCHEDULES ?= 3000
LENGTH ?= 1
SEEDS ?= 50
export BUILDER PREFIX TAG DATA BLOOMERY_WEIGHTS BLOOMERY_TEST_DATA PYTHON
export UV_COMPILE_BYTECODE := 1
# The hundreds of processes of the tests would compile the same files again and again.
test-services test-worker: export PYTHONDONTWRITEBYTECODE :=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: .venv/.synced .venv-worker/.synced ## install everything into the checkout: .venv, and .venv-worker with torch

.venv/.synced: uv.lock $(PYPROJECTS)
	@tools/sync .venv bloomery-server dev

.venv-worker/.synced: uv.lock $(PYPROJECTS)
	@tools/sync .venv-worker bloomery-recipe-yolo recipes test types

check: setup ## formatting, lint, types, contracts, stubs, lock
	@.venv/bin/python tools/check.py

test: setup ## all tests, against real servers; ARGS="..." for pytest
	@$(MAKE) --jobs 2 test-services test-worker

test-fast: setup ## the tests that need neither a server nor training; ARGS="..." for pytest
	@$(MAKE) --jobs 2 test-services test-worker QUICK=1

test-services:
	@.venv/bin/python -m pytest --ignore tests/worker --ignore tests/cluster -n 3 $(SHARED) $(if $(QUICK),-m "not real_server and not real_training") $(ARGS)

# What it prints comes when it has ended, so that it does not mix with the other part's.
test-worker:
	@output=$$(.venv-worker/bin/python -m pytest tests/worker -n 2 $(SHARED) $(if $(QUICK),-m "not real_training") $(ARGS) 2>&1) \
		|| failed=$$?; echo "$$output"; exit $${failed:-0}

test-cluster: setup ## the tests on the Kubernetes cluster of KUBECONFIG; docs/kubernetes.md says what they need
	@: "$${KUBECONFIG:?name the kubeconfig of a cluster for tests, such as KUBECONFIG=~/.kube/config make test-cluster}"
	@.venv/bin/python -m pytest $(CLUSTER) -n 2 $(SHARED) $(ARGS)

soak: soak-seeds soak-races soak-predictions soak-requests soak-schedules soak-imports soak-rounds soak-endurance ## all that takes hours; SEEDS=50, SCHEDULES=3000, IMPORTS=200, REQUESTS=10000, ROUNDS=100, LENGTH=1, ARGS=--write

soak-seeds: setup
	@for seed in $$(seq $(SEEDS)); do \
		.venv/bin/python -m pytest -q --ignore tests/worker --ignore tests/cluster -m hypothesis --hypothesis-seed $$seed -n 3 $(SHARED); \
		.venv-worker/bin/python -m pytest -q tests/worker -m hypothesis --hypothesis-seed $$seed -n 3 $(SHARED); done

soak-races: setup
	@BLOOMERY_TRIALS=1000 .venv/bin/python -m pytest -q tests/trainer/test_cancel_race.py

soak-predictions: setup
	@BLOOMERY_PREDICTIONS=100000 .venv/bin/python -m pytest -q -s tests/inference/test_memory.py

soak-requests: setup
	@for database in sqlite postgres; do \
		PYTHONPATH=tools:benchmarks:. .venv/bin/python tools/soak_requests.py --database $$database --requests $(REQUESTS) $(ARGS); done

soak-schedules: setup
	@BLOOMERY_SCHEDULES=$(SCHEDULES) BLOOMERY_FIRST_SCHEDULE=$$(date +%s) .venv/bin/python -m pytest -q \
		-o tmp_path_retention_policy=failed tests/trainer/test_simulation.py

soak-rounds: setup
	@PYTHONPATH=tools:benchmarks:. .venv/bin/python tools/soak.py --rounds $(ROUNDS) $(ARGS)

soak-imports: setup
	@PYTHONPATH=tools:benchmarks:. .venv/bin/python tools/soak_imports.py --rounds $(IMPORTS) $(ARGS)

soak-endurance: setup
	@PYTHONPATH=tools:benchmarks:. .venv/bin/python tools/endurance.py --length $(LENGTH) $(filter --write,$(ARGS))

soak-upgrades: setup ## a training and 200 watches through upgrade, rollback and uninstallation, on the cluster of KUBECONFIG
	@.venv/bin/python -m pytest -q -s tests/cluster/test_upgrades.py $(ARGS)

demo: setup ## from labelled images to predictions; DATA=folder, BLOOMERY_WEIGHTS=folder
	@examples/demo.sh

protos: setup ## generate the Python stubs from the contracts
	@.venv/bin/python tools/generate_protos.py

chart: setup ## write the chart's dashboards and render its variants, for review: deploy/helm/bloomery/ci/rendered
	@PYTHONPATH=tools .venv/bin/python -m dashboards
	@PYTHONPATH=tools .venv/bin/python tools/render_chart.py

images: ## build the container images; IMAGES="control worker", BUILDER, PREFIX, TAG
	@deploy/images/build $(IMAGES)

bench: setup ## every measurement in benchmarks/, or one of them: NAME=predict
	@for file in benchmarks/$(NAME).py; do echo "== $$file"; PYTHONPATH=tools:. .venv/bin/python "$$file" $(ARGS); done

parts: setup ## install the servers that the tests use: MinIO, PostgreSQL, Triton, Prometheus
	@PYTHONPATH=tools .venv/bin/python -m real_parts

clean: ## remove the environments and caches in the checkout
	@rm -rf .venv .venv-worker .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
