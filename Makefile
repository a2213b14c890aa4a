# Two commands do everything: `make repro` and `make test`. Nothing needs root, ffmpeg or a GPU.
VENV ?= .venv
# The first Python that is new enough.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
BIN = $(VENV)/bin
# Stages run `python -m stages.NAME`, so the environment's Python must be the first one on PATH.
RUN = PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: repro test lint bench docs setup update-downloader requirements help

repro: setup
	@$(RUN) python -m pipeline refresh
	@$(RUN) dvc repro $(ARGS)
	@echo "report: file://$(CURDIR)/reports/index.html"

# For two cores: the third process works while tests of the others wait for a server or a clock. A
# test that hangs ends its process, and would then hang the next one, and the next.
test: setup
	@$(RUN) python -m pytest -n 3 --dist loadfile --max-worker-restart 0 $(ARGS)

lint: setup
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) python -m mypy

bench: setup
	@$(RUN) python -m benchmarks $(ARGS)

docs: setup
	@$(RUN) NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "manual: file://$(CURDIR)/site/index.html"

setup:
	@$(if $(PYTHON),$(PYTHON),python3) .ci/environment.py $(VENV) requirements.txt

# Sites change monthly, and only the newest yt-dlp follows: it, its solver of challenges and its
# JavaScript runtime are stamped apart from the pins.
update-downloader:
	@$(if $(PYTHON),$(PYTHON),python3) .ci/environment.py $(VENV) requirements.txt --update-downloader

# Keeps the versions that are in requirements.txt wherever pyproject.toml allows them. One file serves
# every platform and every Python from 3.11 on.
requirements: setup
	@$(RUN) uv pip compile -q pyproject.toml --group pipeline --group train --group test \
		--group docs --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make requirements" -o requirements.txt

help:
	@echo "make repro         compute what is missing or out of date, up to reports/index.html"
	@echo "                   (ARGS: for dvc repro)"
	@echo "make test          run the tests (ARGS: for pytest)"
	@echo "make lint          check style, formatting and types"
	@echo "make bench         measure the fast paths (ARGS: for python -m benchmarks)"
	@echo "make docs          write the manual as a site; a wrong link or page is an error"
	@echo "make setup         make $(VENV) with the pinned packages; the others do it by themselves"
	@echo "make update-downloader  install the newest yt-dlp, its solver and its JavaScript runtime"
	@echo "make requirements  compile requirements.txt from pyproject.toml"
	@echo "$(BIN)/earshot --help    see which clips and features are there, and repair them"
