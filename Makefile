# Two commands on a fresh Linux machine (Python 3.10-3.12, gcc, g++): `make demo` and `make test`.
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python

.PHONY: help setup demo test lint notebook zoo conformance mutants clean

help:
	@echo 'make demo | test | lint | notebook | zoo | conformance | mutants | setup | clean   (the first makes .venv: 10 to 20 minutes, once)'

setup:
	@PYTHONPATH='$(CURDIR)/tools' $(PYTHON) -m environment_setup

demo: setup
	$(VENV_PYTHON) dev/run_demo.py

lint: setup
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

test: lint # in a process for each core, but no more than memory is sure to hold
	$(VENV_PYTHON) -m pytest --numprocesses auto --maxprocesses 8

notebook: setup # runs docs/tutorial.ipynb from top to bottom; the result is in work_dirs/
	mkdir -p work_dirs
	.venv/bin/jupyter-execute --output='$(CURDIR)/work_dirs/{notebook_name}' docs/tutorial.ipynb

zoo: setup # writes docs/model_zoo.md
	$(VENV_PYTHON) dev/model_zoo.py

conformance: setup # tests/conformance with every config and family of mmdet; minutes
	$(VENV_PYTHON) -m pytest tests/conformance --all-configs

mutants: setup # breaks the code on purpose, and sees that the tests notice; minutes
	$(VENV_PYTHON) dev/mutants.py

clean: # keeps the compiled mmcv in ~/.cache/mmdet_detnet
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
