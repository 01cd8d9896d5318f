# make demo    - watch mutual TLS succeed and fail, from both ends: two screens
# make observe - watch every handshake failure there is (ONE=expired: just that one)
# make test    - run every test, in another order each time; it begins with how many and how long
# make quick   - run a telling part of them, in less than 30 seconds
# make fuzz    - give the tests by random examples ten times as many: some minutes
#                (EXAMPLES=200000: a hundred times; SEED=... to repeat a run, FUZZ=... for some files)
# make soak    - good, bad and hostile clients while everything rotates, for 5 minutes (SECONDS=...)
# make alone   - run every test in a process of its own
# make bench   - compare CPU time with other servers, in less than two minutes
# make bench-full - the same with every row and peer, in about ten minutes
# make bits    - flip every bit of a connection in turn, which takes some minutes
# make check   - format, lint, type-check, and test the built wheel
# make docs    - write the generated pages of docs/ anew, from what really happens: some minutes
# make handbook - of these docs/failures.md alone, in half a minute
# make pictures - make the pictures of the documentation anew; needs Chromium
# make site    - make a site of the documentation, in site/, which needs no network
# make man     - make manual pages of the commands' help, in man/
# make lock    - refresh the pinned requirements (needs uv)
# make clean   - remove everything that was made here
#
# Everything lands in .venv (VENV=...), with the first Python from 3.11 on (PYTHON=...).

# The first interpreter on PATH that is new enough and able to make a virtual environment.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
  $(shell $p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $p)))
VENV ?= .venv

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WHEEL_VENV := $(VENV)-wheel
WHEEL_PIP := $(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check --quiet
SOURCES := $(shell find cli server client tls pki -name '*.py' -o -name '*.tsv' -o -name py.typed)
# One more worker than there are cores, since many tests wait for another process. Whole files go to
# one worker: what a module starts once, a server say, it starts once.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST_OPTIONS ?= -n $(WORKERS) --dist loadfile

# One of each kind: a refusal is told to the other end and by both alike, every failure there is is
# observed, clients are admitted or denied, a PKI's keys and lists are replaced, endpoints come and
# go (but not very many of them), and the README's blocks run as pasted.
MONITOR := $(addprefix tests/client/endpoints/monitor/test_,check.py lasting.py changes.py)
ROTATION := $(addprefix tests/pki/directory/rotation/test_,renew.py revoke.py publication.py)
QUICK := tests/tls/stream/test_refusal.py tests/tls/stream/test_unfit_peers.py \
  tests/cli/failures/test_registry.py \
  tests/server/test_admission.py tests/server/test_resumption.py $(ROTATION) $(MONITOR) \
  tests/project/test_docs.py::test_every_block_of_the_readme_runs_as_pasted_and_in_order

.DEFAULT_GOAL := help
.PHONY: help demo observe test quick fuzz soak alone bench bench-full bits docs handbook pictures site man check lint \
  test-wheel lock clean

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.run
	@$(BIN)/mtls-echo demo --tour

observe: $(VENV)/.run
	@$(BIN)/mtls-echo observe $(ONE)

test: $(VENV)/.dev
	@echo "collecting the tests, which takes half a minute …"
	@$(BIN)/python -m pytest $(PYTEST_OPTIONS)

quick: $(VENV)/.dev
	@$(BIN)/python -m pytest $(PYTEST_OPTIONS) $(QUICK)

# What fails is found again by the seed that is printed, and kept in .hypothesis until it passes.
EXAMPLES ?= 20000
FUZZ ?= $(shell grep -rlE 'from hypothesis|support.mutations' tests --include='test_*.py')
fuzz: $(VENV)/.dev
	@MTLS_ECHO_FUZZ=$(EXAMPLES) $(BIN)/python -m pytest $(PYTEST_OPTIONS) $(FUZZ) \
	    $(if $(SEED),--hypothesis-seed=$(SEED))

SECONDS ?= 300
soak: $(VENV)/.run
	@$(BIN)/python -m benchmarks.soak --seconds $(SECONDS)

# Random order finds who needs what another test left; this finds who needs it in any order.
alone: $(VENV)/.dev
	@$(BIN)/python -m pytest -p tests.support.plugins.alone $(PYTEST_OPTIONS)

# Ratios in one run: figures of two runs, or of two machines, say nothing beside each other.
bench: $(VENV)/.run
	@$(BIN)/python -m benchmarks.speed

bench-full: $(VENV)/.run
	@$(BIN)/python -m benchmarks.speed --full

# The tests try a sample of them.
bits: $(VENV)/.dev
	@MTLS_ECHO_EVERY_BIT=1 $(BIN)/python -m pytest $(PYTEST_OPTIONS) --dist load tests/attacks/test_alteration.py

check: lint test-wheel

# Into a file of its own first: an error must not leave half a page behind.
handbook: $(VENV)/.run
	@$(BIN)/python -m mtls_echo.failures.handbook tests/cli/commands/explain_corpus.toml >docs/failures.md.new
	@mv docs/failures.md.new docs/failures.md

docs: handbook
	@$(BIN)/python -m mtls_echo.attacks.page tests/attacks >docs/why-mtls.md.new
	@mv docs/why-mtls.md.new docs/why-mtls.md
	@$(BIN)/python -m mtls_echo.lesson.page >docs/lesson.md.new
	@mv docs/lesson.md.new docs/lesson.md
	@$(BIN)/python -m docs.tables.clients >docs/clients.md.new
	@mv docs/clients.md.new docs/clients.md

# README.md, docs/page.md: what commands print in a terminal, and what a browser shows.
pictures: $(VENV)/.dev
	@$(BIN)/python -m docs.pictures

# Whatever is not right there, such as a link that leads nowhere, is an error.
site: $(VENV)/.docs
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs/site docs site
	@echo "the site is in $(CURDIR)/site: open site/index.html"

man: $(VENV)/.run
	@$(BIN)/mtls-echo man --write man

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# What users install is the wheel, not this tree: the same tests against it, in a clean environment.
test-wheel: $(WHEEL_VENV)/.wheel
	$(WHEEL_VENV)/bin/python -m pytest -p no:cacheprovider $(PYTEST_OPTIONS)

# Hashes pin every artefact, --no-build-isolation pins the build backend too,
# and --no-deps keeps pip from resolving anything the lock does not name.
$(VENV)/.run: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv and ensurepip on PATH; set PYTHON=/path/to/python" >&2; exit 1; }
# Interrupted, the first run may have left a python without a pip, or with half of one.
	@$(BIN)/python -m pip install --help >/dev/null 2>&1 || \
	    { echo "making $(VENV) with $(PYTHON) …" >&2; $(PYTHON) -m venv $(VENV); }
	@echo "installing the pinned requirements …" >&2
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: tests/requirements.txt $(VENV)/.docs
	@echo "installing the pinned test requirements …" >&2
	@$(PIP) install --require-hashes -r tests/requirements.txt
	@touch $@

$(VENV)/.docs: docs/requirements.txt $(VENV)/.run
	@echo "installing the pinned requirements of the site …" >&2
	@$(PIP) install --require-hashes -r docs/requirements.txt
	@touch $@

$(WHEEL_VENV)/.wheel: $(SOURCES) pyproject.toml tests/requirements.txt docs/requirements.txt $(VENV)/.run
	@rm -rf $(WHEEL_VENV) && $(BIN)/python -m venv $(WHEEL_VENV)
	@$(BIN)/python -m hatchling build -t wheel -d $(WHEEL_VENV)/dist
	@$(WHEEL_PIP) install --require-hashes -r tests/requirements.txt
	@$(WHEEL_PIP) install --require-hashes -r docs/requirements.txt
	@$(WHEEL_PIP) install --no-deps $(WHEEL_VENV)/dist/*.whl
	@touch $@

# Each file extends the one before it; hashes and no host names.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    pyproject.toml --group build -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    pyproject.toml --group build --group dev -c requirements.txt -o tests/requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    pyproject.toml --group docs -c tests/requirements.txt -o docs/requirements.txt

clean:
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .demo site man dist build .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis
