# make demo   from generated data to a detector with a searched backbone
# make test   lint and the quick tests
# Both set up .venv first; `make env` does only that, and nothing when it is up to date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.up-to-date
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q

.PHONY: env demo test test-slow docs-check lint clean

env: $(STAMP)

$(STAMP): $(wildcard requirements/*.txt) setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mmhybrid needs python >= 3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements/build.txt
	@echo 'mmcv is compiled once, about ten minutes on two cores; pip keeps the wheel'
	MMCV_WITH_OPS=1 $(PIP) --no-build-isolation mmcv==2.1.0
	$(PIP) -r requirements/openmmlab.txt -r requirements/tests.txt
	$(PIP) --no-build-isolation -e .
	$(BIN)/python -c 'import mmhybrid; from mmcv.ops import nms, roi_align'
	touch $@

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m 'not slow'

test-slow: env
	$(BIN)/python -m pytest -m slow

# every command and every piece of code in README.md and docs/, run on small data or checked
docs-check: env
	$(BIN)/python -m pytest -m docs

demo: env
	$(BIN)/python tools/demo.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache work_dirs
