# Every command of a developer; `make demo` and `make test` set up all that they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: demo test fast peers sites-test lint types style layers bench faults soak clean

$(VENV)/.installed: pyproject.toml hatch_build.py $(shell find web -type f -not -path '*/node_modules/*' 2>/dev/null)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/camlink prepare
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	sh tests/system/install_chromium.sh
	sh tests/system/places/install.sh
	sh tests/system/install_programs.sh
	touch $@

## the main job: a simulated beamline, its scan, the live page at the printed address
demo: $(VENV)/.installed
	$(BIN)/camlink demo ptychography $(ARGS)

## everything that must hold: style, types, layers, all tests
test: lint $(VENV)/.tested
	$(BIN)/python -m pytest $(ARGS)

## the tests of a minute
fast: $(VENV)/.tested
	$(BIN)/python -m pytest -m 'not slow' $(ARGS)

## the whole fault matrix: every fault for every role
faults: $(VENV)/.tested
	$(BIN)/python -m pytest tests/system/test_faults.py --full $(ARGS)

## ten minutes at 70 % of what this machine sustains, with a worker killed every few seconds
soak: $(VENV)/.installed
	mkdir -p test-artefacts
	$(BIN)/python benchmarks/soak.py --json test-artefacts/soak.json --picture test-artefacts/soak.svg $(ARGS)

## other machines, real ones: Slurm of two nodes, sshd, relay, programs
sites-test: $(VENV)/.tested
	$(BIN)/python -m pytest tests/system/places tests/system/test_relay.py tests/system/test_landing_attacks.py tests/system/test_program.py tests/system/test_cluster.py --full $(ARGS)

lint: style types layers

style: $(VENV)/.tested
	$(BIN)/ruff check .

types: $(VENV)/.tested
	$(BIN)/mypy

layers: $(VENV)/.tested
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.installed
	$(BIN)/camlink bench capture

## the systems beside which links are measured, in an environment of their own; then: python benchmarks/links.py
peers: .peers/.installed
.peers/.installed: benchmarks/peers/requirements.txt
	test -x .peers/bin/python || $(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet --requirement $<
	touch $@

clean:
	rm -rf $(VENV) build dist test-artefacts camlink-runs src/camlink/display/web/static web/node_modules
