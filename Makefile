# Factor Engine. `make` prints the targets; each does the set-up it needs by itself.
PYTHON ?= python3
DATA ?=
SETTINGS ?=
# A market of ticks to look at: 1, or a recorded day's Parquet file; SPEED times as fast as the day was.
LIVE ?=
SPEED ?=
T ?=
BENCH ?= latency
MINUTES ?=
MODEL ?= main
WHAT ?=
START ?=
END ?=
FACTORS ?=
OUT ?=
TICKS ?=
URL ?= http://127.0.0.1:8300/
WHERE ?=
# The environment that a target works in, and which of the tests: pytest's -m, such as ONLY='not ray'.
VENV ?= .venv
ONLY ?=
# The Pythons that are promised; `make test-pythons` takes those that are there.
PYTHONS ?= python3.11 python3.12 python3.13

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
ORACLE_PIP := .venv-oracles/bin/python -m pip --disable-pip-version-check --no-input
# py-alpha-lib needs Python 3.12: the first of these that runs makes the oracles; without one they do without it.
FROM_312 = import ensurepip, sys, venv; (3, 12) <= sys.version_info[:2] <= (3, 13) and print("$(1)")
ORACLES_PYTHON ?= $(firstword $(foreach p,$(PYTHON) python3.12 python3.13,$(shell $(p) -c '$(call FROM_312,$(p))' 2>/dev/null)) $(PYTHON))
# Hundreds of processes start here and in the tests: where this is set, each of them would compile all our sources again.
export PYTHONDONTWRITEBYTECODE :=
# Three processes on two cores, as tests of the running engine wait more than they compute. tests/conftest.py says what
# stays together.
WORKERS ?= 3

# All tests, in several processes. Unless a part was asked for, the share of our lines that they ran is printed too.
ALL = -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations 15
# Below Python 3.12 to look at each line takes a third of what the tests take, so there it is for who asks: COVERAGE=yes.
COVERAGE ?= $(shell $(BIN)/python -c 'import sys; sys.version_info >= (3, 12) and print("yes")')
PYTEST = $(BIN)/python -m pytest $(if $(ONLY),-m '$(ONLY)')
WHOLE = $(if $(T),,$(COVERAGE))
BY_ROOM = NR > 2 && $$2 ~ /^[0-9]+$$/ { split($$1, at, "[/.]"); room = $$1 == "TOTAL" ? "all" : at[1]; lines[room] += $$2; left[room] += $$3 } \
	END { print "lines that the tests ran in their own processes:"; \
	for (room in lines) printf "%-12s %6d lines %6.1f %%\n", room, lines[room], 100 * (1 - left[room] / lines[room]) | "sort"; \
	if (!("all" in lines)) exit 1 }

ITS_VERSION = import ensurepip, sys, venv; print("%d.%d" % sys.version_info[:2])

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run recompute test test-pythons lifecycle lint bench soak oracles validate pictures notebooks docs clean setup device-check

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

run: $(VENV)/.run ## start the engine on loopback port 8300; DATA=file.parquet|.csv|.arrow takes your market instead of the sample, SETTINGS=model.toml says how; LIVE=1|day.parquet plays ticks
	@$(BIN)/python -m factors.warm
	@exec $(BIN)/python -m launch $(if $(DATA),--data '$(DATA)') $(if $(SETTINGS),--settings '$(SETTINGS)') \
		$(if $(LIVE),--live '$(LIVE)') $(if $(SPEED),--speed $(SPEED))

recompute: $(VENV)/.run ## make results of a period again as Parquet; MODEL=main WHAT=scores,library START=2017-01-03 END= FACTORS= DATA=uri OUT=folder
	@$(BIN)/python -m factors.warm
	@exec $(BIN)/python -m jobs.recompute --model '$(MODEL)' $(if $(WHAT),--what '$(WHAT)') $(if $(START),--start $(START)) \
		$(if $(END),--end $(END)) $(if $(FACTORS),--factors '$(FACTORS)') $(if $(DATA),--data '$(DATA)') $(if $(OUT),--out '$(OUT)')

test: $(VENV)/.test ## run the tests, in several processes at once; T=tests/factors for a part of them, in one; AGAIN=yes lets what failed pass alone
	@$(BIN)/python -m factors.warm
	@$(PYTEST) $(if $(T),$(T),$(ALL)) $(if $(WHOLE),--cov --cov-report=) || { [ $$? = 1 ] && [ -n '$(AGAIN)' ] && \
	echo "what failed runs once more, alone, and has to pass" && $(PYTEST) --last-failed --last-failed-no-failures none; }
	@$(if $(WHOLE),$(BIN)/coverage report | awk '$(BY_ROOM)')

lifecycle: $(VENV)/.test ## interrupt 30 starts, fail 10 at random moments, kill every process of the live path, start from the wheel and in a container
	@$(BIN)/python -m factors.warm
	@FACTOR_ENGINE_TEST_INTERRUPTS=30 FACTOR_ENGINE_TEST_FAILURES=10 FACTOR_ENGINE_TEST_LIFECYCLE=1 \
		$(BIN)/python -m pytest tests/launch tests/bus/test_live_kills.py tests/deploy/test_wheel.py tests/deploy/test_image.py \
		tests/factors/library/kernels/test_found.py

# pyenv's commands ask PYENV_VERSION which Python they stand for; to others it says nothing.
test-pythons: $(BIN)/python ## check types and run what needs no Ray on each other promised Python that is there, in .venv-3.x
	@own=$$($(BIN)/python -c '$(ITS_VERSION)'); set -e; for python in $(PYTHONS); do \
	version=$$(PYENV_VERSION=$${python#python} $$python -c '$(ITS_VERSION)' 2>/dev/null) || version=; \
	if [ -z "$$version" ]; then echo "$$python is skipped: it is not here"; \
	elif [ "$$version" = "$$own" ]; then echo "$$python is skipped: make test runs on Python $$own"; \
	else echo "Python $$version"; \
	here="VENV=.venv-$$version PYTHON=$$python"; export PYENV_VERSION=$${python#python}; \
	$(MAKE) lint $$here; \
	$(MAKE) test $$here ONLY='not ray' AGAIN=yes; unset PYENV_VERSION; fi; done

lint: $(VENV)/.test ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.test ## print ratios against peers or bare Ray, NATS and HTTP; BENCH=latency|page|live|peers|fair|model|optimize|day|library|start|faults
	@$(BIN)/python benchmarks/$(BENCH).py

device-check: $(VENV)/.test ## parity, compute plan, timings and crossover of the devices that are here, as a report to paste; says what it skipped
	@$(BIN)/python -m pytest -m apple -rs tests/devices
	@$(BIN)/python benchmarks/device_kernels.py --report

soak: $(VENV)/.test ## ten minutes of 200 requests a second and a bar every two: no error, flat memory and latency; MINUTES=2, TICKS=10000 a second beside
	@$(BIN)/python -m factors.warm
	@$(BIN)/python benchmarks/soak.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(TICKS),--ticks $(TICKS))

oracles: .venv-oracles/.ready ## install other people's implementations, which tests compare with, apart from the engine

validate: $(VENV)/.test ## write the risk model's validation report; DATA=file.parquet, WHERE=folder
	@$(BIN)/python -m factors.validation $(if $(DATA),'$(DATA)') $(if $(SETTINGS),--settings '$(SETTINGS)') $(if $(WHERE),--out '$(WHERE)') \
		$(if $(wildcard .venv-oracles/bin/python),--peer .venv-oracles/bin/python)

pictures: $(VENV)/.test ## write a picture of each view of a running engine's page to docs/pictures; URL=http://127.0.0.1:8300/
	@$(BIN)/python tests/web/page/pictures.py '$(URL)' docs/pictures

docs: $(VENV)/.test ## write the site of docs/ to build/site; every link and anchor is checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build
	@echo "build/site/index.html"

notebooks: $(VENV)/.test ## run the examples, two of them beside an engine, and write docs/notebooks.md with their pictures
	@$(BIN)/python -m factors.warm
	@PYTHONPATH=. $(BIN)/python tests/notebooks.py

clean: ## remove what was installed and cached; the run directory .run (models, logs) stays
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(VENV)/.run

# A virtual environment of the Python $(1) in $@'s folder, or the reason why there can be none.
define make-venv
	@command -v $(1) >/dev/null || { echo "there is no $(1); install Python 3.11 to 3.13, or name it: make run PYTHON=python3.13"; exit 1; }
	@$(1) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	"$(1) is Python %d.%d; the engine needs 3.11 to 3.13. Install one and name it: make run PYTHON=python3.13" % v)'
	$(1) -m venv $(patsubst %/bin/python,%,$@)
endef

$(VENV)/bin/python:
	$(call make-venv,$(PYTHON))

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the engine's dependencies into $(VENV) (some minutes the first time)"
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: requirements-test.lock $(VENV)/.run
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) install --quiet --require-hashes -r requirements-test.lock
	@touch $@

.venv-oracles/bin/python:
	$(call make-venv,$(ORACLES_PYTHON))
	@$@ -c 'import sys; v = sys.version_info[:2]; v >= (3, 12) or print("py-alpha-lib is left out: it \
	needs Python 3.12 and this is %d.%d; name one: make oracles ORACLES_PYTHON=python3.12" % v)'

.venv-oracles/.ready: oracles/requirements.lock oracles/nodeps.lock | .venv-oracles/bin/python
	@echo "installing the oracles into .venv-oracles"
	@$(ORACLE_PIP) install --quiet --require-hashes -r oracles/requirements.lock
	@$(ORACLE_PIP) install --quiet --require-hashes --no-deps -r oracles/nodeps.lock
	@touch $@
