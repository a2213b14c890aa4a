# Two commands do all: `make repro` and `make test`. Nothing needs root, ffmpeg or a GPU.
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
BIN = $(VENV)/bin
# Stages are run as `python -m stages.NAME`: the environment's own python has to be the first one found.
RUN = PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: repro test lint bench setup help
repro: setup
	@$(RUN) python -m pipeline refresh
	@$(RUN) dvc repro $(ARGS)
	@echo "report: file://$(CURDIR)/reports/index.html"

test: setup
	@$(RUN) python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .

bench: setup
	@$(RUN) python -m benchmarks $(ARGS)

setup:
	@$(if $(PYTHON),$(PYTHON),python3) .ci/environment.py $(VENV) requirements.txt

help:
	@echo "make repro    compute what is missing or out of date, up to reports/index.html (ARGS: for dvc repro)"
	@echo "make test     run the tests (ARGS: for pytest)"
	@echo "make lint     check style and formatting"
	@echo "make bench    measure the fast paths (ARGS: for python -m benchmarks)"
	@echo "make setup    make $(VENV) with the pinned packages; the others do that by themselves"
	@echo "$(BIN)/python -m pipeline --help    look at the account of clips and features, and mend it"
