# Two commands on a fresh Linux machine with Python 3.10 to 3.13: `make demo` and `make test`.
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
UV_VERSION := 0.13.9
SUPPORTED := (3, 10) <= sys.version_info < (3, 14)

# uv does not read the settings of pip: pass on those for finding packages.
PACKAGES = $(addprefix --find-links ,$(PIP_FIND_LINKS)) $(addprefix --index-url ,$(PIP_INDEX_URL)) \
	$(addprefix --extra-index-url ,$(PIP_EXTRA_INDEX_URL)) --index-strategy unsafe-best-match
# Else each process compiles what it imports, for 5 s, where PYTHONDONTWRITEBYTECODE is set.
export UV_COMPILE_BYTECODE := 1
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif

# One process per core, but no more than fit in memory, and a file's tests in one of them.
PYTEST := -m pytest --numprocesses auto --maxprocesses 8 --durations 10 \
	--dist loadgroup --no-loadscope-reorder
# Other CPUs: the newest instructions of oneDNN and of ATen, and the number of threads.
CPUS := SSE41-default-1 SSE41-avx2-2 AVX2-default-4 AVX512_CORE-avx2-2
# Of `make mutation`; each takes about ten seconds.
MUTANTS ?= 60
SEED ?= 0

.PHONY: help setup compiled demo test lint test-compiled test-torchvision test-everywhere matrix notebook zoo conformance mutation docs clean

help:
	@echo 'make demo | test | lint | matrix | notebook | zoo | conformance | mutation | docs'
	@echo 'make test-everywhere | test-compiled | test-torchvision'
	@echo 'make setup | compiled | clean   (the first command makes .venv, once)'

setup: .venv/complete
	@echo "Ready. The README's commands need the environment: source .venv/bin/activate"

compiled: .venv-compiled/complete # with mmcv's compiled operators: needs g++ and 10 to 20 minutes, once

.venv/complete: MMCV := mmcv-lite
.venv-compiled/complete: MMCV := mmcv
# PyPI's torchvision needs PyPI's torch, which is a CUDA build but runs without a GPU.
.venv-torchvision/complete: MMCV := mmcv-lite
.venv-torchvision/complete: PIP_FIND_LINKS :=
.venv-torchvision/complete: MORE := torchvision==0.28.0
%/complete: Makefile pyproject.toml requirements.txt requirements-test.txt
	@$(PYTHON) -c 'import sys; $(SUPPORTED) or sys.exit("Python 3.10 to 3.13 is needed; choose one: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $*
	$*/bin/python -m pip install --quiet uv==$(UV_VERSION)
	sed 's/^mmcv-lite/$(MMCV)/' requirements.txt | \
	$*/bin/uv pip install --python $* $(PACKAGES) -r - -r requirements-test.txt $(MORE)
	$*/bin/uv pip install --python $* --quiet --no-deps --no-build-isolation openmim==0.3.9 --editable .
	touch $@

demo: setup
	$(VENV_PYTHON) dev/run_demo.py

lint: setup
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) dev/check_prose.py

test: lint
	$(VENV_PYTHON) $(PYTEST)

test-compiled: compiled # compares the operators with those of mmcv
	.venv-compiled/bin/python $(PYTEST) tests/operators tests/conformance/test_families_operators.py

test-torchvision: .venv-torchvision/complete # its kernels against ours, on the CPU; 5 GB, once
	.venv-torchvision/bin/python $(PYTEST) tests/operators

test-everywhere: $(CPUS:%=test-as-%)

test-as-%: setup
	ONEDNN_MAX_CPU_ISA=$(word 1,$(subst -, ,$*)) ATEN_CPU_CAPABILITY=$(word 2,$(subst -, ,$*)) \
	OMP_NUM_THREADS=$(word 3,$(subst -, ,$*)) $(VENV_PYTHON) $(PYTEST)

matrix: setup # other Pythons, the oldest torch, the maintained forks; downloads several GB
	PATH='$(CURDIR)/.venv/bin':"$$PATH" dev/matrix.sh $(PACKAGES)

notebook: setup # runs docs/tutorial.ipynb and stores its outputs, without this folder's path
	cd docs && ../$(VENV_PYTHON) -c "import nbclient, nbformat; \
		notebook = nbformat.read('tutorial.ipynb', 4); \
		nbclient.NotebookClient(notebook, coalesce_streams=True).execute(); \
		nbformat.write(notebook, 'tutorial.ipynb')"
	sed -i 's|$(CURDIR)/||g' docs/tutorial.ipynb

zoo: setup # writes docs/model_zoo.md
	$(VENV_PYTHON) dev/model_zoo.py

conformance: setup compiled # tests/conformance with every family of mmdet; minutes
	$(VENV_PYTHON) -m pytest tests/conformance --all-configs
	.venv-compiled/bin/python -m pytest tests/conformance/test_families_operators.py --all-configs

mutation: setup # MUTANTS=60 SEED=0; changes the code in a copy, and sees whether a test fails
	$(VENV_PYTHON) dev/mutation.py $(MUTANTS) $(SEED)

docs: .venv-docs/complete # the site, in build/site
	rm -rf build/documents
	mkdir -p build/documents
	git ls-files -z --cached --others --exclude-standard '*.md' ':!dev' docs configs tools LICENSE | \
	tar --null --files-from - --create | tar --extract --directory build/documents
	cp dev/home.md build/documents/README.md
	cp dev/site.css build/documents
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --config-file dev/mkdocs.yml

.venv-docs/complete: requirements-docs.txt | setup
	.venv/bin/uv venv --quiet --clear --python $(VENV_PYTHON) .venv-docs
	.venv/bin/uv pip install --python .venv-docs $(PACKAGES) -r requirements-docs.txt
	touch $@

clean: # uv keeps downloads and builds in its cache
	rm -rf .venv .venv-compiled .venv-torchvision .venv-docs build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
