# PYTQ's front door. On a fresh machine: `make demo`, `make test`.
.PHONY: demo install test check format bench screenshots soak clean
.DEFAULT_GOAL := check

PYTHON ?= python3
BIN := .venv/bin
SOAK_MINUTES ?= 10
SIDE_BY_SIDE ?= 3 # files of tests at once: most of them wait for others' programs
export PIP_DISABLE_PIP_VERSION_CHECK = 1

demo: install            ## install, then run a real pipeline over real files, and show what came of it
	$(BIN)/python -m pytq.cli.main demo

install: .venv/installed ## PYTQ in .venv, with exactly the versions of constraints.txt

.venv/installed: pyproject.toml constraints.txt scripts/venv
	scripts/venv $(PYTHON) .venv
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable .
	touch $@

.venv/tools: .venv/installed
	$(BIN)/python -m pip install -qq --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -qq --constraint constraints.txt --group dev
	touch $@

test: .venv/tools        ## every test, with a real PostgreSQL of its own
	scripts/system-packages
	$(BIN)/python -m compileall -q pytq # the tests start hundreds of programs
	$(BIN)/python -m pytest --numprocesses $(SIDE_BY_SIDE) --dist loadfile --reruns 2 --tb native $(ARGS)

check: .venv/tools       ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/tools       ## measure PYTQ beside its peers, into bench/RESULTS.md (about an hour)
	scripts/system-packages
	$(BIN)/python bench/all.py $(ARGS)

screenshots: .venv/tools ## take the pictures of the cockpit again, into docs/images/
	$(BIN)/python scripts/screenshots $(ARGS)

soak: .venv/tools        ## the long runs, about an hour: histories, simulation, outages, and the soak itself
	scripts/system-packages
	PYTQ_STATEFUL_EXAMPLES=500 PYTQ_LONG=1 PYTQ_SIMULATION_SECONDS=600 $(BIN)/python -m pytest --timeout 3000 \
		tests/server tests/worker tests/simulation tests/promises $(ARGS)
	$(BIN)/python tests/soak/soak.py --database sqlite --minutes $(SOAK_MINUTES)
	$(BIN)/python tests/soak/soak.py --database postgresql --minutes $(SOAK_MINUTES)

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output
