# make demo | test | lint | bench | reliability | webrtc | crash | simulate      each sets up what it needs in .venv
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix js
MODULES := js/node_modules/.ready
BUNDLED := js/package-lock.json js/build.mjs $(wildcard js/src/*.ts js/src/ui/*)
APT := $(shell [ "$$(id -u)" = 0 ] || echo sudo) env DEBIAN_FRONTEND=noninteractive apt-get

.PHONY: demo test lint format bench reliability webrtc crash simulate chromium clean

demo: $(READY)
	$(BIN)/python bench/demo.py

test: $(READY) $(MODULES) chromium
	$(NPM) run --silent test
	$(BIN)/python -m pytest -n 2 --dist loadfile  # most tests wait for others than the processor

lint: $(READY) $(MODULES)
	$(NPM) run --silent types
	$(NPM) run --silent lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) $(MODULES)
	$(NPM) run --silent format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	$(BIN)/python bench/run.py

reliability: $(READY)
	PYTHONPATH=tests $(BIN)/python bench/reliability.py

webrtc: $(READY)
	PYTHONPATH=tests $(BIN)/python bench/webrtc.py

crash: $(READY)
	$(BIN)/python bench/crash.py

simulate: $(READY)
	$(BIN)/python bench/simulation.py

# the tests of the widget drive a real browser
chromium:
	@command -v chromium >/dev/null || { $(APT) update -qq && $(APT) install -y -qq chromium; } || \
	  { echo "The tests need Chromium, as 'chromium' on the PATH." >&2; exit 1; }

clean:
	rm -rf $(VENV) dist js/node_modules src/nbferry/static

$(MODULES): js/package-lock.json | $(READY)
	$(NPM) ci --silent --no-audit --no-fund
	touch $@

$(READY): pyproject.toml $(BUNDLED)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $@
