# make demo | test | loaded | lint | bench | webrtc | reliability | crash | simulate   each sets up what it needs in .venv
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix js
MODULES := js/node_modules/.ready
BUNDLED := js/package-lock.json js/build.mjs $(wildcard js/src/*.ts js/src/ui/*)
APT := $(shell [ "$$(id -u)" = 0 ] || echo sudo) env DEBIAN_FRONTEND=noninteractive apt-get

.PHONY: demo test loaded lint format bench webrtc reliability crash simulate chromium laboratory clean

demo: $(READY)
	$(BIN)/python bench/demo.py

test: $(READY) $(MODULES) chromium laboratory
	$(NPM) run --silent test
	$(BIN)/python -m pytest -n 2 --dist loadfile  # most tests wait for others than the processor

# the tests of Python while eight other processes keep the machine busy
loaded: $(READY) chromium laboratory
	bench/loaded.sh

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

# the tests with NATs build networks of their own, as only root may; elsewhere they are skipped
laboratory:
	@[ "$$(id -u)" != 0 ] || { command -v ip && command -v nft && command -v turnserver; } >/dev/null || \
	  { $(APT) update -qq && $(APT) install -y -qq iproute2 nftables coturn && \
	    { systemctl disable --quiet --now coturn 2>/dev/null || true; }; } || \
	  echo "The tests with NATs are skipped: they need iproute2, nftables and coturn." >&2

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
