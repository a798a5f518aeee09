# Everything that builds, runs, checks and tests Palaver. `make help` lists it.
# `make run` needs Python 3.11 or newer and make, nothing else; `make test` the same.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# What is built once per machine (test servers, npm modules) lives outside the checkout, keyed by version or lock hash.
export PALAVER_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/palaver

VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

# A stamp's name carries the checksum of what it was made from: a changed lock means another stamp, hence a new install.
checksum = $(shell cat $(1) 2>/dev/null | cksum | cut -d' ' -f1)
RUNTIME := $(VENV)/.runtime-$(call checksum,requirements/runtime.txt requirements/build.txt)
DEV := $(VENV)/.dev-$(call checksum,requirements/dev.txt)
PROJECT := $(VENV)/.project-$(call checksum,pyproject.toml)

# uv where the machine has it (seconds), else the pip of the environment itself.
UV := $(shell command -v uv || command -v ./$(BIN)/uv)
INSTALL := $(if $(UV),"$(UV)" pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check)

PROTOS := $(wildcard proto/palaver/v1/*.proto)
PROTOC := $(BIN)/python -m grpc_tools.protoc -I proto
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help contract run cluster test test-all test-machines test-faults test-cluster-real kubernetes-tools day simulate image image-archive sbom lint style types imports format bench bench-cluster coverage-page metrics-page chart proto proto-check lock environment clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Palaver needs Python 3.11 or newer; say PYTHON=... if it is not the first one on PATH")'
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): | $(VENV)/bin/python
	$(INSTALL) --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@rm -f $(VENV)/.runtime-*
	@touch $@

# The development lock contains the runtime's, so it satisfies that stamp, too.
$(DEV): | $(VENV)/bin/python
	$(INSTALL) --require-hashes -r requirements/dev.txt
	@rm -f $(VENV)/.dev-* $(VENV)/.runtime-*
	@touch $@ $(RUNTIME)

# Whoever names it names an installed lock before it.
$(PROJECT):
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.project-*
	@touch $@

environment: $(DEV) $(PROJECT) ## Create or update .venv with everything that development needs

run: $(RUNTIME) $(PROJECT) ## Run Palaver, all roles in one process
	$(BIN)/palaver serve $(ARGS)

cluster: environment ## Run every role as processes of its own, with a NATS and a MongoDB (ARGS=--help)
	$(BIN)/python -m tests.cluster $(ARGS)

test: environment ## Run the tests that need nothing but Python, three files at once on two processors
	$(BIN)/python -m pytest -m "not needs_servers" --numprocesses auto --dist loadfile $(ARGS)

# Two files at once, however many processors there are: each side has servers of its own, a Kubernetes among them, and
# most of the time they wait.
test-all: test ## Run these, then the tests against real servers and clients (node, npm; go; java)
	$(BIN)/python -m pytest -m needs_servers --numprocesses 2 --dist loadfile $(ARGS)

test-machines: environment ## Run the state machines for SECONDS=3600 each, one after the other
	STATE_MACHINE_SECONDS=$(or $(SECONDS),3600) $(BIN)/python -m pytest -o faulthandler_timeout=0 -p no:logging \
		tests/commit/test_state_machine.py tests/database/contract/test_state_machine.py \
		tests/presence/test_state_machine.py $(ARGS)

kubernetes-tools: environment ## Build what the tests on a real Kubernetes need, once a machine (go; some ten minutes)
	$(BIN)/python -m tests.kubernetes.tools

test-cluster-real: environment ## Run a workspace in real pods on a real kubelet, as root (go; runc, nftables; java)
	$(BIN)/python -m tests.kubernetes.real $(ARGS)

ROUNDS ?= 1
test-faults: environment ## Break a cluster under load in every way, ROUNDS times, and count every message (long)
	$(BIN)/python -m tests.faults.run --rounds $(ROUNDS) $(ARGS)

MINUTES ?= 60
day: environment ## Live a day of a small team for MINUTES=60 against a server of its own (ARGS=--seed 7)
	$(BIN)/python -m tests.e2e.day --minutes $(MINUTES) $(ARGS)

simulate: environment ## Drive the rules of scaling with a day, a stampede and flapping metrics (ARGS=--help)
	$(BIN)/palaver-operator simulate $(ARGS)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= palaver:$(VERSION)
BUILDER ?= docker buildx
image: ## Build the image (PLATFORMS=linux/amd64,linux/arm64 ARGS=--push; BUILDER=podman or buildah)
	$(BUILDER) build $(if $(PLATFORMS),--platform $(PLATFORMS)) --tag $(IMAGE) $(ARGS) .

image-archive: environment ## Make the same image without a builder, of this machine's Python: build/palaver-image.tar
	$(BIN)/python -m image.archive $(IMAGE) build/palaver-image.tar $(ARGS)

sbom: environment ## Write the image's bill of materials (CycloneDX): build/palaver-sbom.cdx.json
	$(BIN)/python -m image.sbom build/palaver-sbom.cdx.json $(ARGS)

lint: style types imports proto-check ## Check style, types, the architecture's import rules and the generated code

style: environment
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: environment
	$(BIN)/mypy

imports: environment
	$(BIN)/lint-imports

format: environment ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: environment ## Run the benchmarks
	@set -e; for file in $(filter-out %_cluster.py,$(wildcard benchmarks/bench_*.py)); do echo "== $$file"; $(BIN)/python "$$file" $(ARGS); done

bench-cluster: environment ## Run the cluster's benchmarks: every role as processes of its own
	@set -e; for file in $(wildcard benchmarks/bench_*cluster.py); do echo "== $$file"; PYTHONPATH=. $(BIN)/python "$$file" $(ARGS); done

coverage-page: environment ## Write docs/api-coverage.md: which endpoints and methods are there
	$(BIN)/python docs/generate_api_coverage.py

metrics-page: environment ## Write docs/metrics.md: every metric
	$(BIN)/python docs/generate_metrics.py

chart: environment ## Write what is generated in charts/palaver: definitions, rules, schema, tables of the README
	PYTHONPATH=. $(BIN)/python docs/generate_chart.py

proto: environment ## Generate services/palaver/v1 from proto/palaver/v1
	@mkdir -p services/palaver/v1
	@rm -f services/palaver/v1/*_pb2.py services/palaver/v1/*_pb2.pyi
	@test -f services/palaver/v1/__init__.py || echo '"""Generated from proto/palaver/v1 by `make proto`: never edited by hand."""' > services/palaver/v1/__init__.py
	$(PROTOC) --python_out services --mypy_out quiet:services $(PROTOS)

contract: environment ## Keep the contract of this version as released: what the next one must bear beside it
	@mkdir -p proto/released
	$(PROTOC) --descriptor_set_out proto/released/$$($(BIN)/python -c 'import palaver; print(palaver.__version__)').binpb $(PROTOS)

proto-check: environment
ifneq ($(PROTOS),)
	@made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && \
	$(PROTOC) --python_out "$$made" --mypy_out quiet:"$$made" $(PROTOS) && \
	diff -r -x __init__.py -x __pycache__ "$$made/palaver/v1" services/palaver/v1 || \
	{ echo "services/palaver/v1 differs from proto/palaver/v1: run 'make proto'"; exit 1; }
endif

lock: environment ## Lock the requirements anew (ARGS=--upgrade for newer versions)
	$(LOCK) $(ARGS) requirements/dev.in -o requirements/dev.txt
	$(LOCK) -c requirements/dev.txt requirements/runtime.in -o requirements/runtime.txt
	$(LOCK) -c requirements/dev.txt requirements/operator.in -o requirements/operator.txt
	$(LOCK) -c requirements/dev.txt requirements/build.in -o requirements/build.txt
	$(LOCK) requirements/servers.in -o requirements/servers.txt

clean: ## Remove what was built in the checkout (never ./data)
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find services operator image tests -name __pycache__ -type d -prune -exec rm -rf {} +
