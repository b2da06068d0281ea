# make demo   from generated data to a detector with a searched backbone
# make test   lint and the quick tests
# Both set up .venv first; `make env` does only that, and nothing when it is up to date.
# make coverage  which lines of mmhybrid the quick tests run; TESTS=tests/search is of some of them
# make matrix  the quick tests and the demo in each supported environment, some three hours; CELLS="people default"
#   runs these of requirements/matrix.json, MATRIX=FOLDER makes them elsewhere than in .matrix
# make gpu-check  tests and benchmarks on a GPU within nine minutes; installs nothing
# make evidence  the papers' orderings at small scale, with intervals, and their table in docs/results.md; killed, it goes
#   on where it was; ARGS='glmix-branches --data FOLDER' for one row
# make docs   README.md, docs/ and the reference of the Python API as a site in site/, whose links are then followed in Chromium
# make ops    an environment of its own, .venv-ops, with an older torch and MMCV's compiled operators

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.up-to-date
OPS := .venv-ops
DOCS := .venv-docs
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "this environment needs python >= 3.11; mmhybrid itself runs on 3.10, see docs/support.md")'
MAKE_VENV = test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
PIP = $(@D)/bin/python -m pip install --disable-pip-version-check -q

.PHONY: env ops docs demo test test-slow coverage docs-check matrix gpu-check evidence lint clean

env: $(STAMP)

ops: $(OPS)/.up-to-date

$(STAMP): $(wildcard requirements/*.txt) setup.py
	@$(CHECK_PYTHON)
	$(MAKE_VENV)
	$(PIP) -r requirements/build.txt
	$(PIP) --no-build-isolation $(patsubst %,-r requirements/%.txt,lite openmmlab tests)
	$(PIP) --no-build-isolation -e .
	$(@D)/bin/python -c 'import mmhybrid; from mmcv.ops import nms, roi_align'
	touch $@

$(OPS)/.up-to-date: $(wildcard requirements/*.txt) setup.py
	@$(CHECK_PYTHON)
	$(MAKE_VENV)
	$(PIP) -r requirements/build.txt -r requirements/ops.txt
	@echo 'mmcv is compiled once, about ten minutes on two cores; pip keeps the wheel'
	MMCV_WITH_OPS=1 $(PIP) --no-build-isolation mmcv==2.1.0
	$(PIP) --no-build-isolation $(patsubst %,-r requirements/%.txt,ops openmmlab tests)
	$(PIP) --no-build-isolation -e .
	$(@D)/bin/python -c 'from mmcv._ext import nms, roi_align_forward'
	touch $@

$(DOCS)/.up-to-date: requirements/docs.txt
	$(MAKE_VENV)
	$(PIP) -r requirements/docs.txt
	touch $@

docs: env $(DOCS)/.up-to-date
	$(DOCS)/bin/mkdocs build --strict
	$(BIN)/python -m pytest tests/docs/test_site.py

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

QUICK = pytest -n 2 --dist loadfile --max-worker-restart 0 -m 'not slow'

test: lint
	$(BIN)/python -m $(QUICK)

test-slow: env
	$(BIN)/python -m pytest -m slow

# with the processes that tests start
coverage: env
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m $(QUICK) $(TESTS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

# every command and every piece of code in README.md and docs/, run on small data or checked
docs-check: env
	$(BIN)/python -m pytest -m docs

demo: env
	$(BIN)/python tools/demo.py

MATRIX ?= .matrix

matrix:
	$(PYTHON) benchmarks/matrix.py $(CELLS) --dir $(MATRIX) $(ARGS)

# with .venv where there is one, else with $(PYTHON); ARGS='--device cpu' is its small form
gpu-check:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) benchmarks/gpu_check.py $(ARGS)

evidence:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) benchmarks/evidence/run.py --record $(ARGS)

clean:
	rm -rf $(VENV) $(OPS) $(DOCS) .matrix build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage* work_dirs
