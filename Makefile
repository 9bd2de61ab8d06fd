# Needs only python3 (3.11 or newer), make and a package index. Everything lands in .venv.
#   make PYTHON=python3.12 test     uses another interpreter
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Another interpreter means another environment, so its version is part of the stamp's name.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
REQUIREMENTS_STAMP := $(VENV)/.requirements-$(PYTHON_VERSION)
ENV_STAMP := $(VENV)/.installed-$(PYTHON_VERSION)
SOURCES := tfdeblur data_prep examples benchmarks tests
# The documentation tools have a separate environment: they need neither TensorFlow nor Keras.
DOCS_STAMP := $(VENV)-docs/.installed-$(PYTHON_VERSION)
# Where `make quickstart` puts its data, its run and its report.
QUICKSTART_DIR ?= quickstart
# PYTHON:TENSORFLOW pairs of `make test-matrix`; 2.19.1 is what TPUs run and has no Python 3.13 build.
MATRIX ?= 3.11-2.19.1 3.11-2.21.0 3.12-2.19.1 3.12-2.21.0 3.13-2.21.0

# The quick tests trace graphs more than they compute, which one process does on one core.
TEST_PROCESSES ?= 2

export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help env quickstart test test-slow test-long fuzz test-all test-matrix lint types contracts format check \
	docs wheel bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 14

env: $(ENV_STAMP) ## the virtual environment, rebuilt when requirements.txt changes

$(REQUIREMENTS_STAMP): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "error: $(PYTHON) is not Python 3.11, 3.12 or 3.13; try make PYTHON=python3.13" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(ENV_STAMP): $(REQUIREMENTS_STAMP) setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

quickstart: env ## data, a few minutes of training, a report, a SavedModel, a restored photo
	$(BIN)/python examples/quickstart.py --out $(QUICKSTART_DIR)

test: env ## the quick tests
	$(BIN)/python -m pytest -n $(TEST_PROCESSES)

test-slow: env ## the slow tests: real data, whole runs, several processes
	$(BIN)/python -m pytest -m slow -n $(TEST_PROCESSES) --durations 20

test-long: env ## the tests that take many minutes each
	$(BIN)/python -m pytest -m long -n $(TEST_PROCESSES)

fuzz: env ## 2,000 mutated files for each reader of files
	FUZZ_CASES=2000 $(BIN)/python -m pytest --run-slow --timeout=0 tests/fuzz

test-all: env ## every test
	$(BIN)/python -m pytest --run-slow -n $(TEST_PROCESSES)

test-matrix: ## the quick tests on each Python and TensorFlow; one that fails does not hide the rest
	@$(MAKE) --keep-going $(addprefix matrix-,$(MATRIX))

# Under pyenv a command such as python3.12 is found only in versions that were chosen: here in all
# that it has, the newest first.
matrix-%: export PYENV_VERSION ?= $(shell \
	pyenv versions --bare 2>/dev/null | grep -x '[0-9.]*' | sort -rV | paste -sd: -)
matrix-%: INTERPRETER = python$(firstword $(subst -, ,$*))
matrix-%:
	@$(INTERPRETER) -c '' 2>/dev/null || { echo "error: there is no $(INTERPRETER) here; install it," \
		"or name what there is, such as make test-matrix MATRIX='3.11-2.21.0'" >&2; exit 1; }
	$(INTERPRETER) -m venv --clear $(VENV)-matrix/$*
	$(VENV)-matrix/$*/bin/python -m pip install --quiet --disable-pip-version-check \
		-e '.[dev,quickstart]' tensorflow-cpu==$(lastword $(subst -, ,$*))
	$(VENV)-matrix/$*/bin/python -m pytest -n $(TEST_PROCESSES)

lint: env ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env ## mypy
	$(BIN)/mypy

contracts: env ## import-linter: which module may import which
	$(BIN)/lint-imports

check: lint types contracts test ## what a commit should pass

format: env ## rewrites the sources in the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(DOCS_STAMP): docs/requirements.txt
	$(PYTHON) -m venv --clear $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

docs: $(DOCS_STAMP) ## the documentation site, in site/; a warning is an error
	$(VENV)-docs/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env \
		--doctree-dir $(VENV)-docs/doctrees docs site

# An older build/ would put files into the wheel that are gone from the sources.
wheel: env ## the wheel that the notebooks install, in dist/, after a look at what is inside
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	$(BIN)/python -m tests.helpers.wheels dist/*.whl

# TFDEBLUR_DATA names a folder with gopro/ in it, TORCH_PYTHON an interpreter that has PyTorch.
bench: env ## the benchmarks, each a ratio of two things run side by side
	@test -d "$(TFDEBLUR_DATA)/gopro" || { \
		echo "error: set TFDEBLUR_DATA to a folder with gopro/ in it" >&2; exit 1; }
	$(BIN)/python -m benchmarks.input_pipeline --data $(TFDEBLUR_DATA)/gopro
	$(BIN)/python -m benchmarks.train_step $(if $(TORCH_PYTHON),--torch-python $(TORCH_PYTHON))
	$(BIN)/python -m benchmarks.shared_pass
	$(if $(TORCH_PYTHON),$(BIN)/python -m benchmarks.restore --torch-python $(TORCH_PYTHON))

clean: ## environments, caches and what the quickstart made
	rm -rf $(VENV) $(VENV)-docs $(VENV)-matrix $(QUICKSTART_DIR) site docs/reference build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
