# make demo    the main job on real audio: a microphone, or recorded speech in a private PipeWire
# make test    everything that has to hold
# make test-vm ALSA capture on real drivers, in an emulated machine (Debian and its kind)
# make test-vad the VAD model against its reference, at length
# make bench   latencies and costs, measured against a plain reader in the same run
# make bench-peers  the same impulses to what people use today; make bench-document writes docs/benchmarks.md

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
BINARY := target/release/v2m-engine

.PHONY: help demo test test-vm test-vad bench bench-peers bench-document setup setup-test build install lint rust loom fuzz python clean
help:
	@sed -n 's/^# //p' Makefile | sed '/^---/,$$d'

# --- what is needed -----------------------------------------------------------

setup:
	packaging/setup.sh build

setup-test:
	packaging/setup.sh test

$(BINARY): build
build:
	cargo build --release

# The Python module and, beside its interpreter, the engine that it starts.
install: build
	@echo "== building the Python module" >&2
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/pip install --quiet --no-build-isolation --no-deps --force-reinstall .
	install -m 755 $(BINARY) $(VENV)/bin/v2m-engine

demo: setup
	@$(MAKE) --no-print-directory install
	$(PYTHON) tests/rig/demo.py

bench: setup
	@$(MAKE) --no-print-directory install
	cargo bench --bench ring
	$(BINARY) bench latency --private --quantum 256 --python $(PYTHON)
	$(BINARY) bench latency --private --python $(PYTHON)
	$(PYTHON) benches/scaling.py

bench-peers:
	packaging/setup.sh peers
	@$(MAKE) --no-print-directory install
	$(PYTHON) benches/peers/run.py

# Twelve minutes on an otherwise quiet machine.
bench-document:
	packaging/setup.sh peers
	@$(MAKE) --no-print-directory install
	$(PYTHON) benches/peers/run.py --document

# --- what has to hold -----------------------------------------------------------

test: setup-test
	@$(MAKE) --no-print-directory lint rust loom fuzz python
	@echo "== all tests passed" >&2

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy --no-default-features --lib -- -D warnings
	cargo deny --all-features check --hide-inclusion-graph bans licenses sources
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

rust:
	cargo test --workspace

# One writer, one and two readers, every order that the memory model allows; then
# the same with each ordering weakened in turn, which must be noticed.
loom:
	RUSTFLAGS="--cfg loom" cargo test --release --lib --no-default-features --target-dir target/loom model

# RUSTC_BOOTSTRAP: the sanitizer's flags on a released compiler.
FUZZ_SECONDS := 20
fuzz:
	for target in header protocol; do \
	    RUSTC_BOOTSTRAP=1 cargo fuzz run $$target --target-dir target/fuzz -- \
	        -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -timeout=10 2>&1 | tail -n 3; \
	    [ $${PIPESTATUS[0]} -eq 0 ] || exit 1; \
	done

python: install
	for suite in python engine pipewire bench; do \
	    $(PYTHON) -m pytest --timeout 300 -q tests/$$suite || exit 1; \
	done

# A stock Debian kernel with snd-aloop, unpacked from its package, under qemu.
test-vm:
	packaging/setup.sh vm
	cargo test --test alsa-vm -- --ignored

# The native VAD model against the ONNX one on half an hour of audio, with mutated weights.
test-vad: setup-test
	$(VENV)/bin/pip install --quiet onnxruntime==1.32.0 onnx safetensors
	$(VENV)/bin/pip install --quiet --no-deps silero-vad==6.2.3
	ORT_DISABLE_TELEMETRY=1 $(PYTHON) tests/vad_reference.py target/vad-reference --test

clean:
	cargo clean
	rm -rf $(VENV)
