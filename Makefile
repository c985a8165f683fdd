PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: quickstart test quick lint clean

quickstart: $(VENV)/.run
	$(BIN)/dpo-lightning fit --config configs/quickstart.yaml

# Three workers on two cores: many tests wait for processes of their own.
test: $(VENV)/.test
	$(BIN)/pytest --numprocesses 3 --dist worksteal

# Under a minute on two quiet cores: two thirds of the tests, without those that tests/slow.py names. `test` runs them all.
quick: $(VENV)/.test
	$(BIN)/pytest --numprocesses 3 --dist worksteal -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone: only the exact pin finds a CPU build where one is offered.
$(VENV)/.torch: $(BIN)/python constraints.txt
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.run: $(VENV)/.torch setup.cfg
	$(PIP) --editable ".[plot]"
	touch $@

$(VENV)/.test: $(VENV)/.torch setup.cfg
	$(PIP) --editable ".[test]"
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) runs
