# Two commands: `make demo` and `make test`. Both make .venv once; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

demo: .venv/demo.stamp
	$(BIN)/python main.py --mode full --dataset phantom_2d --image_size 160 --epochs 8

test: .venv/test.stamp
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage report

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The torch of the requirements goes first: torchvision alone would choose another.
.venv/demo.stamp: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep -o '^torch==[0-9.]*' requirements.txt)"
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/test.stamp: requirements-dev.txt .venv/demo.stamp
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv
