# make demo    run the main job on the example tile, with an environment of its own
# make test    everything that must hold: lint, import contracts, spelling, types, tests
# make lint    all of these but the tests
# make clean   remove the environment and all results
#
# PYTHON=python3.12 chooses the interpreter, VENV=folder where the environment goes.

VENV ?= .venv
WORKERS ?= 2
PY := $(VENV)/bin/python

export PYTHON
export MPLBACKEND ?= Agg
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test lint clean run-environment test-environment

demo: run-environment
	$(PY) -m astro_rcnn.detect examples/tile --output out/demo --overwrite
	$(PY) -m astro_rcnn.evaluate --dataset examples/tile/truth.h5 --output out/demo/score --overwrite
	@printf '\ncatalogue, masks, segmentation, regions: out/demo\npictures:\n'
	@find out/demo -name '*.png' | sort | sed 's/^/  /'

test: lint
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_OPTIONS)

lint: test-environment
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/codespell
	$(PY) -m mypy

clean:
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Both return at once where nothing has changed.
run-environment:
	@.ci/environment $(VENV) tensorflow-cpu

test-environment:
	@.ci/environment $(VENV) tensorflow-cpu,dev
