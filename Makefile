PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-long faults bench-small lint clean

# Train and evaluate on the rendered city: no data, no accelerator, some minutes on two CPU cores.
demo: $(VENV)/.installed
	$(BIN)/python main.py --config=configs/demo.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -q

# The few tests that `test` leaves out, as each takes half a minute or more.
test-long: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -q -m long

# Kill, stop, damage and starve real runs, and compare each with an unbroken one; without --short some twenty minutes.
faults: $(VENV)/.installed
	$(BIN)/python -m tests.faults --short

# Every benchmark at a size of seconds: that they run and agree with their peers, not how fast.
bench-small: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -m bench tests/benchmarks

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=. $(BIN)/lint-imports --config setup.cfg

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vigor_jax needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	    "Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps depend on setup.cfg, so a changed dependency installs itself at the next call.
$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/.installed-lint: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'ruff==0.17.5' 'import-linter==2.17'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info
