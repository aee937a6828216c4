# make demo and make test do all the set-up that they need, on a fresh Debian machine too.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What `make demo` and `make bench` look at: a path or URL of a volume; empty for the sample.
DATA ?=
OUT ?= demo-output

# A compiler, a virtual display with software GL, the libraries that Qt loads, and LLNL's fpzip,
# against which the codec is tested.
DEBIAN_PACKAGES := g++ python3-venv xvfb xauth libegl1 libgl1 libgl1-mesa-dri libopengl0 \
	libxkbcommon-x11-0 libdbus-1-3 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 \
	libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libfontconfig1 fpzip-utils
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
XVFB := QT_QPA_PLATFORM=xcb xvfb-run -a -s "-screen 0 1280x900x24"
SOURCES := pyproject.toml CMakeLists.txt $(wildcard codec_src/*) napari.yaml

.PHONY: demo test lint bench screenshots clean system

demo: $(VENV)/.demo
	rm -rf "$(OUT)/screenshot.png" "$(OUT)/kempressed"
	$(BIN)/napari-kemp demo $(DATA) --screenshot "$(OUT)/screenshot.png" --export "$(OUT)/kempressed"

test: $(VENV)/.dev
	$(XVFB) $(BIN)/pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror codec_src/*.hpp codec_src/*.cpp

bench: $(VENV)/.dev
	$(BIN)/napari-kemp bench $(DATA)
	$(BIN)/python benchmarks/codec.py $(if $(DATA),--data $(DATA)) --out bench-output
	$(BIN)/python benchmarks/export.py $(if $(DATA),--data $(DATA)) --out bench-output
	$(BIN)/python benchmarks/view.py $(if $(DATA),--data $(DATA)) --out bench-output

screenshots: $(VENV)/.dev
	$(XVFB) $(BIN)/python docs/screenshots.py docs/images

clean:
	rm -rf $(VENV) build dist bench-output demo-output

system:
	@if ! command -v dpkg-query >/dev/null; then \
	  echo "Not a Debian machine: please see that these are there: $(DEBIAN_PACKAGES)"; \
	elif [ "$$(dpkg-query -W -f='$${db:Status-Abbrev}\n' $(DEBIAN_PACKAGES) 2>/dev/null | grep -c '^ii')" \
	       -lt $(words $(DEBIAN_PACKAGES)) ]; then \
	  $(SUDO) apt-get update && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y --no-install-recommends $(DEBIAN_PACKAGES); \
	fi

$(BIN)/pip: | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.demo: $(SOURCES) | $(BIN)/pip
	$(BIN)/pip install --quiet --editable ".[gui]"
	touch $@

$(VENV)/.dev: $(SOURCES) | $(BIN)/pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@ $(VENV)/.demo
