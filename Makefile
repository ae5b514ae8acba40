# Three commands: `make demo`, `make model` and `make test`. Each makes .venv once; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
# Processes that share the tests, file by file. The inputs are small: a second thread in each would only wait.
WORKERS ?= 2
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# glibc gives freed tensors back to the system, and asks for them again page by page: up to half of the time.
KEEP := MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_TOP_PAD_=67108864
SHARED := -m pytest -n $(WORKERS) --dist loadfile

# The model of `make model`: a frozen network with a head fitted to the Kaggle images.
PROCESSED := data/kaggle_2d/manifest.csv
MODEL := checkpoints/kaggle_model/best_model.pth

.PHONY: demo model test test-quick lint docs lock test-lowest clean

# Two classes and 64 test people, so that every interval can be told; float32, so that every processor says the same.
demo: .venv/demo.stamp
	$(BIN)/python main.py --mode full --dataset phantom_3d --volume_size 64 --phantom_subjects 160 --phantom_variety 1 \
	  --test_fraction 0.4 --classes 2 --epochs 12 --precision fp32 --run demo

# Without the images nothing is installed. A second call trains nothing, unless the images were preprocessed again.
model:
	@test -e $(MODEL) || test -e $(PROCESSED) || \
	  find -L data -maxdepth 5 -ipath 'data/kaggle*/train/*.jpg' -print -quit 2>/dev/null | grep -q . || { \
	  echo "error: the Kaggle images are not there: get them where docs/data.md says, and put the folders train" \
	  "and test, with 6,400 JPGs, into data/kaggle_orig" >&2; exit 2; }
	@$(MAKE) --no-print-directory $(MODEL)
	@printf '%s\n' '$(MODEL) is ready. Type next, with your own scan for SCAN:' \
	  '  $(BIN)/python -m pip install ".[scans]"' \
	  '  $(BIN)/python main.py --mode predict --input SCAN --checkpoint $(MODEL)' \
	  'Then open results/kaggle_model/report.html'

$(PROCESSED): | .venv/demo.stamp
	$(BIN)/python main.py --mode preprocess --dataset kaggle_orig

$(MODEL): $(PROCESSED) | .venv/demo.stamp
	$(BIN)/python main.py --mode train --dataset kaggle_2d --freeze_backbone --classes 3 --run kaggle_model

test: .venv/test.stamp
	$(BIN)/python -m coverage erase
	$(THREADS) $(KEEP) $(BIN)/python -m coverage run $(SHARED)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

test-quick: .venv/test.stamp
	$(THREADS) $(KEEP) $(BIN)/python $(SHARED) -m "not slow"

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in docs/_build/html. Every warning is an error; DOCS=--no-gallery leaves the examples unrun.
docs: .venv/test.stamp
	$(BIN)/python -m docs.site.build $(DOCS)

# The torch of the lock goes first: torchvision alone would choose another.
.venv/demo.stamp: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep -o '^torch==[0-9.]*' requirements.txt)"
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/test.stamp: requirements-dev.txt .venv/demo.stamp
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

# Pins that fit the ranges of pyproject.toml stay; for newer ones add UV="--upgrade-package NAME", or UV=--upgrade.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --annotation-style line \
  --custom-compile-command "make lock" $(UV) pyproject.toml
lock: .venv/test.stamp
	$(LOCK) --output-file requirements.txt
	$(LOCK) --all-extras --constraint requirements.txt --output-file requirements-dev.txt

# The lowest version that pyproject.toml admits of each package, in an environment of its own: all steps, quick tests.
test-lowest: .venv/test.stamp
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	$(BIN)/uv pip compile --quiet --python .venv-lowest/bin/python --resolution lowest-direct --all-extras \
	  pyproject.toml --output-file .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet -r .venv-lowest/lowest.txt
	.venv-lowest/bin/python debug.py --step all
	$(THREADS) $(KEEP) .venv-lowest/bin/python $(SHARED) -m "not slow"

clean:
	rm -rf .venv .venv-lowest docs/_build
