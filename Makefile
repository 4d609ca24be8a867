# `make` alone lists the targets. It keeps to what GNU make 3.81 (macOS) understands.

# Which Python to use; empty means the first of these that works and is 3.11 to 3.13.
PYTHON ?=
PYTHONS = $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python)

# Empty means the command's own default.
DATA = data
CACHE = $(DATA)/features.h5
CLASSES =
RUN =
MODEL =
EPOCHS =
ARGS =

# The environment is .venv, of whichever Python made it. When PYTHON asks for another minor version than .venv
# has, that version gets an environment of its own beside it, such as .venv-3.12.
VENV := .venv
ifneq ($(PYTHON),)
minor := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := $(shell test -n "$(minor)" && { test ! -e .venv || grep -q '^version.* = $(minor)\.' .venv/pyvenv.cfg; } \
	&& echo .venv || echo .venv-$(minor))
endif
PY = $(VENV)/bin/python
READY = $(VENV)/installed
SUPPORTED = sys.exit(not (3, 11) <= sys.version_info < (3, 14))

DEMO = data/synthetic
# One more than there are cores: many tests wait for a process or for a second to pass.
TESTERS = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# All files that try more of the same where FUZZ_EXAMPLES is set.
FUZZED = $(addprefix tests/,cache/file/test_bad_caches.py cache/file/test_container.py featurize/audio/test_fuzz.py \
	featurize/audio/test_odd_audio.py train/fitting/test_fit_dask.py train/report/test_page.py \
	train/review/test_findings_page.py train/review/test_page.py whole/test_crash.py)
FEATURIZE = $(strip $(PY) -m featurize "$(DATA)" --cache "$(CACHE)" $(if $(CLASSES),--classes "$(CLASSES)"))
FIT_OPTIONS = $(strip $(if $(RUN),--run "$(RUN)") $(if $(MODEL),--model $(MODEL)) \
	$(if $(EPOCHS),--epochs $(EPOCHS)) $(ARGS))

.PHONY: help demo install features train test fuzz lint bench bench-scale lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile
	@echo
	@echo 'Variables: PYTHON=python3.12, DATA=folder, CACHE=file, CLASSES=robin,wren, RUN=folder, MODEL=name, EPOCHS=n,'
	@echo 'ARGS="further options of the command that the target ends with"'

demo: RUN = $(DEMO)/run
demo: EPOCHS = 8
demo: $(READY) ## Synthesise clips into data/synthetic, featurise them, train on them and print the score
	$(PY) data/synthesize.py $(DEMO)
	$(PY) -m featurize $(DEMO)
	@rm -rf $(DEMO)/run
	$(PY) -m train fit $(DEMO)/features.h5 $(FIT_OPTIONS)

install: $(READY) ## Make the environment from requirements.lock (every other target does so when it must)

features: $(READY) ## Bring the cache up to date with the clips in DATA
	$(FEATURIZE) $(ARGS)

train: $(READY) ## Bring the cache up to date, then train on it
	$(FEATURIZE)
	$(PY) -m train fit "$(CACHE)" $(FIT_OPTIONS)

# A file stays with one process, which keeps what its tests share; the order is that of tests/conftest.py.
test: $(READY) ## Run the tests, on all cores
	$(PY) -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(READY) ## Try what `make test` tries some of: 20000 damaged files of every format, more kills and sizes; takes an hour
	FUZZ_EXAMPLES=20000 $(PY) -m pytest $(FUZZED) $(ARGS)

lint: $(READY) ## Check style, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict

bench: $(READY) ## Measure speed against the usual tools
	$(PY) -m tests.bench $(ARGS)

bench-scale: $(READY) ## Measure how time and memory grow from 2,000 to 200,000 clips (30 GB of disk)
	$(PY) -m tests.bench.scale $(ARGS)

lock: $(READY) ## Write requirements.lock again after pyproject.toml changed (ARGS=--upgrade raises every version)
	$(PY) -m pip install --quiet 'uv>=0.9'
	$(PY) -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--extra cluster --extra dev --extra export --extra train --no-header $(ARGS) pyproject.toml -o requirements.lock

clean: ## Delete what the demo and the tools left; your clips, caches, runs and environments stay
	@echo 'Deleting the synthetic clips, their cache and run in $(DEMO), and what Python, pytest, ruff, mypy and'
	@echo 'hypothesis keep between runs. Your own clips, caches and runs stay, and so does .venv.'
	@test ! -d $(DEMO) || find $(DEMO) -type f -name '*synthetic_*_s*_*.*' -exec rm -f {} +
	@rm -rf $(DEMO)/run $(DEMO)/features.h5 $(DEMO)/features.h5.*
	@test ! -d $(DEMO) || find $(DEMO) -depth -type d -exec rmdir {} + 2>/dev/null || true
	@find . -name '.venv*' -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis

# The path file lets a notebook anywhere that runs on this environment import cache, featurize and train. The
# stamp comes last, so that an install that was broken off is taken up again.
$(READY): requirements.lock $(if $(shell test -x $(PY) && echo yes),,no-environment)
	@if ! $(PY) -c 'import sys, pip; $(SUPPORTED)' 2>/dev/null; then \
		python=; for candidate in $(PYTHONS); do \
			if $$candidate -c 'import sys, venv, ensurepip; $(SUPPORTED)' 2>/dev/null; then \
				python=$$candidate; break; \
			fi; \
		done; \
		if test -z "$$python"; then \
			echo 'make: found no working Python 3.11 to 3.13 with venv as $(PYTHONS): name one with PYTHON=' >&2; \
			exit 1; \
		fi; \
		echo "Making $(VENV) with $$python"; \
		$$python -m venv --clear $(VENV); \
	fi
	@echo 'Installing the packages of requirements.lock into $(VENV): the first time that takes minutes'
	@$(PY) -m pip install --quiet --require-hashes -r requirements.lock
	@$(PY) -c 'import pathlib, sysconfig; \
		pathlib.Path(sysconfig.get_path("purelib"), "melcache.pth").write_text(str(pathlib.Path.cwd()) + "\n")'
	@touch $(READY)

no-environment:
.PHONY: no-environment
