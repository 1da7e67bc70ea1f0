# Weir. `make help` lists the targets; README.md and docs/commands.md say more.
SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=

.DEFAULT_GOAL := help
.PHONY: help run test build engine setup bench fuzz install clean

help: ## Say what there is.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

run: ## Install what is missing, build, and start a gateway with three replicas here. Options: ARGS='--listen …'.
	@scripts/setup && scripts/build && exec .build/release/weir up $(ARGS)

test: ## Run the whole suite.
	@scripts/test

build: setup ## Build weir and weir-replica for release.
	@scripts/build

engine: setup ## Build llama.cpp, the engine of embedded replicas, into the per-user cache.
	@scripts/build-engine > /dev/null

setup: ## Install the Debian packages that are missing.
	@scripts/setup

bench: build ## Measure against HAProxy and nginx.
	@scripts/optional Tests/Benchmarks/run

fuzz: setup ## Fuzz the parsers of outside bytes.
	@scripts/optional Tests/Fuzz/run

install: ## Install what `make build` made; DESTDIR and PREFIX as usual.
	@scripts/install '$(DESTDIR)' '$(PREFIX)'

clean: ## Remove what was built here; the engine's cache stays.
	rm -rf .build .venv
