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
# Compiler, sanitizers and coverage of the fuzz targets.
FUZZ_PACKAGES := clang libclang-rt-dev llvm
# How long each fuzz target runs.
FUZZ_SECONDS ?= 1800
# How long many threads share the core, and how long the cache.
STRESS_SECONDS ?= 600
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
XVFB := QT_QPA_PLATFORM=xcb xvfb-run -a -s "-screen 0 1280x900x24"
FUZZ = $(MAKE) -C tests/fuzz BUILD=$(abspath build/fuzz) PYTHON=$(abspath $(BIN))/python
# A file is for one process: what its tests share is made once.
IN_PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile
SANITIZED := build/sanitized
CODEC_TESTS := tests/test_fpzip.py tests/test_kempressed.py tests/test_lanes.py \
	tests/test_section_table.py tests/test_parts.py tests/test_fixtures.py tests/test_damage.py
SOURCES := pyproject.toml CMakeLists.txt $(wildcard codec_src/*) napari.yaml

.PHONY: demo test fuzz fuzz-smoke fuzz-coverage stress soak sanitize lint bench screenshots clean \
	system system-fuzz

demo: $(VENV)/.demo
	rm -rf "$(OUT)/screenshot.png" "$(OUT)/kempressed"
	$(BIN)/napari-kemp demo $(DATA) --screenshot "$(OUT)/screenshot.png" --export "$(OUT)/kempressed"

# Every process has a display of its own.
test: $(VENV)/.dev fuzz-smoke sanitize
	QT_QPA_PLATFORM=xcb $(BIN)/pytest $(IN_PARALLEL)

fuzz: $(VENV)/.fuzz
	$(FUZZ) SECONDS=$(FUZZ_SECONDS) all

fuzz-smoke: $(VENV)/.fuzz
	$(FUZZ) SECONDS=25 all

fuzz-coverage: $(VENV)/.fuzz
	$(FUZZ) coverage

# The core under the thread sanitizer, then the cache of sections.
stress: $(VENV)/.fuzz
	$(FUZZ) SECONDS=$(STRESS_SECONDS) stress
	$(BIN)/python tests/stress.py $(STRESS_SECONDS)

# The tests of the codec, with a core that is built with sanitizers. The interpreter is the one
# beneath the environment: an editable install would be imported before anything else. Left out
# are tests of the process's memory: the sanitizer takes an eighth of all that is reserved.
sanitize: $(SANITIZED)/.built
	PYTHONPATH="$(SANITIZED):$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
	$(PYTHON) -P -m pytest -p no:cacheprovider --no-xvfb $(IN_PARALLEL) \
	  -k "not memory and not refused_by_the_grid" $(CODEC_TESTS)

# Long use: 2,000 steps through three layers in a real window, 200 volumes opened and closed, and
# what is left of it in memory, threads and open files. About ten minutes.
soak: $(VENV)/.dev
	$(XVFB) $(BIN)/python tests/soaking.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror codec_src/*.hpp codec_src/*.cpp tests/fuzz/*.hpp tests/fuzz/*.cpp

bench: $(VENV)/.dev
	$(BIN)/napari-kemp bench $(DATA)
	$(BIN)/python benchmarks/codec.py $(if $(DATA),--data $(DATA)) --out bench-output
	$(BIN)/python benchmarks/export.py $(if $(DATA),--data $(DATA)) --out bench-output
	$(XVFB) $(BIN)/python benchmarks/view.py --window $(if $(DATA),--data $(DATA)) --out bench-output

screenshots: $(VENV)/.dev
	$(XVFB) $(BIN)/python docs/screenshots.py docs/images

clean:
	rm -rf $(VENV) build dist bench-output demo-output

system: PACKAGES := $(DEBIAN_PACKAGES)
system-fuzz: PACKAGES := $(FUZZ_PACKAGES)
system system-fuzz:
	@if ! command -v dpkg-query >/dev/null; then \
	  echo "Not a Debian machine: please see that these are there: $(PACKAGES)"; \
	elif [ "$$(dpkg-query -W -f='$${db:Status-Abbrev}\n' $(PACKAGES) 2>/dev/null | grep -c '^ii')" \
	       -lt $(words $(PACKAGES)) ]; then \
	  $(SUDO) apt-get update && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y --no-install-recommends $(PACKAGES); \
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

$(VENV)/.fuzz: $(VENV)/.dev | system-fuzz
	$(BIN)/pip install --quiet --editable ".[dev,fuzz]"
	touch $@ $(VENV)/.demo $(VENV)/.dev

$(SANITIZED)/.built: $(SOURCES) | $(VENV)/.dev
	rm -rf $(SANITIZED)
	CXX=g++ CXXFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -g" \
	$(BIN)/pip install --quiet --no-deps --target $(SANITIZED) \
	  --config-settings build-dir=build/sanitize .
	touch $@
