# Entry points of the project; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-epic demo-own test test-slow faults slurm-test lint check bench benchmark clean

EPIC ?= ../shared/epic
ENV := source ./env.bash &&

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: ## make .venv, install everything, build ros2_ws (PYTHON=python3.12 chooses the interpreter)
	@./scripts/setup.sh

demo: setup ## play a kitchen video through the node; results in build/demo
	@$(ENV) python -m training.demo --out build/demo

demo-epic: setup ## the same with real EPIC-KITCHENS frames (EPIC=folder); results in build/demo-epic
	@$(ENV) python -m training.demo --epic $(EPIC) --out build/demo-epic

demo-own: setup ## a lab of its own, from recordings to a go; results in build/demo-own
	@$(ENV) python -m training.demo.own --out build/demo-own

test: setup lint ## lint, type checks and all tests, on up to four cores
	@$(ENV) python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slow: setup ## the tests that take minutes: VISOR's real annotations, long runs
	@$(ENV) python -m pytest -m slow

faults: setup ## floods, kills, 10 000 malformed images and an hour of bag on real nodes
	@$(ENV) python -m pytest -m faults -s

slurm-test: setup ## the benchmark on a real Slurm of one node, about 10 minutes; needs slurm-wlm and munge
	@./scripts/slurm_test.sh

lint: setup ## ruff and mypy
	@$(ENV) ruff check . && $(ENV) ruff format --check . && $(ENV) mypy

bench: setup ## speed and memory, each benchmark beside its reference; tables and build/bench.json
	@$(ENV) python tests/bench

benchmark: setup ## a small grid of the noisy-label benchmark, about 2 minutes; results in build/benchmark
	@$(ENV) actiseg benchmark smoke --out build/benchmark

clean: ## remove what the builds left; keeps .venv
	rm -rf build dist ros2_ws/build ros2_ws/install ros2_ws/log .pytest_cache .mypy_cache .ruff_cache
