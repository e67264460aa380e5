# Every target sets up what it needs; `make` alone says what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint evaluate bench bench-kafka bench-peers bench-compare bench-respond bench-scale \
	bench-snapshot soak kafka stack fuzz sbom audit lock clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.ready ## prepare .venv with the tripline command in it

$(VENV)/.ready: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"make: {sys.executable} is Python {v.major}.{v.minor}; Tripline needs 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) has no venv module: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV) (once; about half a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## replay a forged-token theft and watch it being caught
	@mkdir -p out
	@$(BIN)/tripline replay forged-token --report out/forged-token.html

test: setup lint ## everything that must hold before a commit
	@$(BIN)/pytest --numprocesses auto

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

evaluate: setup ## every theft and its benign twin, beside what one would write by hand (hours; EVALUATE= narrows it)
	@mkdir -p out
	@TRIPLINE_TICK_S=$${TRIPLINE_TICK_S:-120} $(BIN)/tripline evaluate $(or $(EVALUATE),--pace 0.25 --pace 0.5 --pace 2 --pace 4) --json out/evaluation.json --report out/evaluation.html

bench: setup ## speed and memory, beside the pipeline a tutorial would write
	@$(BIN)/python -m tests.bench

bench-kafka: setup ## speed of one worker on a real broker (needs Java 17 and Maven)
	@$(BIN)/python -m tests.bench.kafka

BENCHER := .venv-bench
$(BENCHER)/.ready: deploy/bench.lock
	@echo "setting up $(BENCHER) (once; about half a minute)"
	@$(PYTHON) -m venv --clear $(BENCHER)
	@$(BENCHER)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement deploy/bench.lock
	@touch $@

bench-peers: setup ## the same beside what you could take instead: Faust, bytewax, quixstreams, by hand, Kafka Streams (Java 17, Maven)
	@$(MAKE) --no-print-directory $(BENCHER)/.ready || echo "make: going on without what $(BENCHER) would have" >&2
	@$(BIN)/python -m tests.bench.peers $(PEERS)

bench-compare: setup ## what changed in speed since a revision, by stage: BASE=main~3; COMPARE="--runs 5 --kafka"
	@$(BIN)/python -m tests.bench.compare $(or $(BASE),HEAD) $(COMPARE)

bench-respond: setup ## speed of the alert plane on a real broker (needs Java 17 and Maven)
	@$(BIN)/python -m tests.bench.respond

bench-scale: setup ## a process with the accounts of the incident: memory, speed, snapshots; SCALE="--detectors all --millions 1,10"
	@$(BIN)/python -m tests.bench.scale $(SCALE)

bench-snapshot: setup ## what a snapshot of a million entities writes, and what waits meanwhile
	@$(BIN)/python -m tests.bench.snapshot

SOAK_MINUTES ?= 30
soak: setup ## whether a worker keeps up and its memory stays, at 70 % of its rate (SOAK_MINUTES=; needs Java 17 and Maven)
	@$(BIN)/python -m tests.bench.soak --minutes $(SOAK_MINUTES)

BROKERS ?= 1
kafka: setup ## a real Apache Kafka on this machine, for development: BROKERS=1 or 3 (needs Java 17 and Maven)
	@$(BIN)/python -m tests.kafka.cluster --brokers $(BROKERS)

stack: setup ## the whole product on this machine, with a theft in it (needs Java 17, Maven, Prometheus, Alertmanager)
	@$(BIN)/python -m tests.deploy.stack

FUZZER := .venv-fuzz
FUZZ_SECONDS ?= 3600
$(FUZZER)/.ready: deploy/fuzz.lock $(VENV)/.ready
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --upgrade --target $(FUZZER) --requirement deploy/fuzz.lock
	@touch $@

fuzz: $(FUZZER)/.ready ## mutated input for whatever reads bytes of others (an hour; FUZZ_SECONDS=, FUZZ="blocks decode." narrow it)
	@PYTHONPATH=$(CURDIR):$(FUZZER) $(BIN)/python -m tests.fuzz $(FUZZ) --seconds $(FUZZ_SECONDS)

$(TOOLS)/.ready: deploy/tools.lock
	@$(PYTHON) -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement deploy/tools.lock
	@touch $@

sbom: $(TOOLS)/.ready ## what is in the image, as CycloneDX: out/sbom.cdx.json
	@mkdir -p out
	@$(TOOLS)/bin/cyclonedx-py requirements deploy/image.lock --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-format JSON --output-file out/sbom.cdx.json
	@echo out/sbom.cdx.json

audit: $(TOOLS)/.ready ## known vulnerabilities of what is in the image; fails too where no advisories can be had
	@$(TOOLS)/bin/pip-audit --strict --disable-pip --no-deps --requirement deploy/image.lock

lock: ## resolve pyproject.toml anew into requirements.lock, and into deploy/image.lock without what only tests need (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev pyproject.toml --output-file requirements.lock
	echo "setuptools>=77" | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --constraint requirements.lock --extra avro --extra protobuf --extra store pyproject.toml - --output-file deploy/image.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header deploy/tools.in --output-file deploy/tools.lock
	echo "atheris>=3,<3.1" | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header - --output-file deploy/fuzz.lock
	printf "bytewax[kafka]>=0.21\norjson\nquixstreams>=3.28\nriver\n" | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header - --output-file deploy/bench.lock

clean: ## remove what the other targets made
	rm -rf $(VENV) $(TOOLS) $(FUZZER) $(BENCHER) out build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
