# make demo    the main job on real audio: a microphone, or recorded speech in a private PipeWire
# make test    everything that has to hold
# make test-vm ALSA capture on real drivers, in an emulated machine, at length (Debian and its kind)
# make test-vad speech detection against its reference, at length (half an hour of audio,
#              ten minutes of it live)
# make test-vad-hours ten hours of audio through the engine, in some minutes
# make test-vad-equal  five hours of audio at 16 and at 8 kHz: silero-vad's own sample numbers
# make test-together  sources that are recorded together: twenty starts and half an hour of each
# make test-python   the Python module at length: a thousand rounds of tasks that leave at bad
#              moments, two minutes of chunks that are kept
# make test-hostile  hostile peers, files and names at length: 100,000 messages, 10,000 connections
# make audit   known vulnerabilities in dependencies (needs GitHub)
# make test-record recordings at length: hours, 200 kills, disks that stall for 20 s or lose power
# make test-echo  half an hour of echo, and 200 utterances through the virtual microphone
# make soak HOURS=2  everything that happens on a machine, drawn from a seed (SEED=7 repeats it), and
#              an account of every sample; make soak-document writes docs/reliability.md
# make test-integrations  pipecat, livekit-agents, RealtimeSTT and openWakeWord, which need over 300 MB,
#              on recorded speech
# make packages      .deb, Debian's source package, .rpm, wheel and sdist into dist/
# make packages ARCH=arm64  .deb, .rpm and wheel for ARM64, compiled here (as root: in a Debian root
#              that it makes, 3 GB)
# make release the packages, what they are made of (CycloneDX) and SHA256SUMS, in dist/
# make test-packages  these in clean roots, on a booted Debian, and built twice over, ARM64's under qemu
#              (as root; of its hours most go into compiling: docs/packaging.md)
# make test-arm64  packages for ARM64 are made and run by qemu
# make bench   latencies and costs, measured against a plain reader in the same run
# make bench-echo  echo taken off here, by PipeWire's module and by nobody; writes docs/benchmarks-echo.md
# make bench-clusters  what Ray Data, Dask and Hugging Face datasets add to finding speech in recordings
# make bench-peers  the same impulses to what people use today; make bench-document writes docs/benchmarks.md

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
BINARY := target/release/v2m-engine
LIBV2M := PKG_CONFIG_PATH=$(CURDIR)/target/release

.PHONY: help demo audit test vm test-vm test-vad test-vad-hours test-vad-equal test-python test-record test-hostile test-echo test-integrations packages release test-arm64 test-packages libv2m bench bench-echo bench-peers bench-document setup setup-test setup-bench build install lint rust loom fuzz python clean bench-clusters soak soak-document test-together
help:
	@sed -n 's/^# //p;/^$$/q' Makefile

# --- what is needed -----------------------------------------------------------

setup:
	packaging/setup.sh build

setup-test:
	packaging/setup.sh test

setup-bench:
	packaging/setup.sh bench

$(BINARY): build
build:
	nice cargo build --release

# The Python module and, beside its interpreter, the engine that it starts.
install: build
	@echo "== building the Python module" >&2
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/pip install --quiet --no-build-isolation --no-deps --force-reinstall .
	install -m 755 $(BINARY) $(VENV)/bin/v2m-engine

demo: setup
	@$(MAKE) --no-print-directory install
	$(PYTHON) -m rig.demo

# The client for C, where receivers in C find it.
libv2m:
	nice cargo build --release --package v2m-capi
	crates/capi/link.sh target/release

bench: setup-bench
	@$(MAKE) --no-print-directory install
	@$(MAKE) --no-print-directory libv2m
	cargo bench --bench ring
	$(PYTHON) benches/latency.py
	$(LIBV2M) $(BINARY) bench latency --private --quantum 256 --python $(PYTHON)
	$(LIBV2M) $(BINARY) bench latency --private --python $(PYTHON)
	$(PYTHON) benches/scaling.py
	$(PYTHON) benches/vad_peers.py
	$(PYTHON) benches/vad_corpus.py
	$(PYTHON) benches/vad_hearing.py
	$(PYTHON) benches/listening.py
	$(PYTHON) benches/monitor.py
	$(PYTHON) benches/jitter.py
	$(PYTHON) benches/samples.py
	$(PYTHON) benches/record.py

# Some twenty minutes; what it measures is the same on any machine, but for the CPU time.
bench-echo: setup-bench
	@$(MAKE) --no-print-directory install
	$(PYTHON) benches/echo/run.py --document

bench-peers:
	packaging/setup.sh peers
	@$(MAKE) --no-print-directory install
	@$(MAKE) --no-print-directory libv2m
	$(LIBV2M) $(PYTHON) benches/peers/run.py

# On an otherwise quiet machine; it makes the frameworks' virtual environment.
bench-clusters: setup-test
	@$(MAKE) --no-print-directory install
	packaging/frameworks.sh
	target/frameworks/bin/python benches/vad_clusters.py

# On an otherwise quiet machine.
bench-document:
	packaging/setup.sh peers
	@$(MAKE) --no-print-directory install
	@$(MAKE) --no-print-directory libv2m
	cargo bench --bench reader --bench sources --no-run
	$(LIBV2M) $(PYTHON) benches/peers/run.py --document

# --- what has to hold -----------------------------------------------------------

test: setup-test
	@$(MAKE) --no-print-directory lint rust
	@# The emulated machine has one core busy, the build the other.
	@$(MAKE) --no-print-directory --output-sync=target -j2 vm build
	@$(MAKE) --no-print-directory loom fuzz python
	@echo "== all tests passed" >&2

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo clippy --no-default-features --lib -- -D warnings
	cargo clippy --no-default-features --features alsa --lib -- -D warnings
	cargo clippy --no-default-features --features ort --lib -- -D warnings
	cargo deny --all-features check --hide-inclusion-graph bans licenses sources
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Known vulnerabilities of what is built in, from RustSec's database (GitHub).
audit:
	cargo deny --all-features check --hide-inclusion-graph advisories

rust:
	cargo test --workspace
	cargo test --no-default-features --test library -- without_alsa:: without_ort::

# One writer, one and two readers, every order that the memory model allows; then
# the same with each ordering weakened in turn, which must be noticed.
loom:
	RUSTFLAGS="--cfg loom" cargo test --profile loom --package v2m-ring --lib --target-dir target/loom model

# RUSTC_BOOTSTRAP: the sanitizer's flags on a released compiler.
FUZZ_SECONDS := 12
fuzz:
	for target in reader_cursor header protocol; do \
	    RUSTC_BOOTSTRAP=1 cargo fuzz run $$target --target-dir target/fuzz -- \
	        -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -timeout=10 2>&1 | tail -n 3; \
	    [ $${PIPESTATUS[0]} -eq 0 ] || exit 1; \
	done

# Five tests at a time: they wait more than they compute.
python: install
	$(PYTHON) -m pytest --timeout 300 -q -n 5 --dist worksteal

# A stock Debian kernel, unpacked from its package, under qemu: with snd-aloop, and with a
# disk that loses its power while it is recorded onto. --workspace: what `rust` has compiled will do.
vm:
	@if command -v apt-get >/dev/null; then \
	    cargo test --workspace --test machine -- --ignored --test-threads 1; \
	else echo "== passed over: the emulated machine takes a Debian kernel by apt" >&2; fi

# The same, and every combination of rate, format, channels and period.
test-vm: setup-test vm
	V2M_TEST_VM_ONLY=long cargo test --workspace --test machine -- --ignored alsa

# The native VAD model against the ONNX one on half an hour of audio, with mutated weights; the
# ort backend; and ten minutes played through PipeWire in real time.
test-vad: setup-test
	@$(MAKE) --no-print-directory install
	$(VENV)/bin/pip install --quiet onnx safetensors
	ORT_DISABLE_TELEMETRY=1 $(PYTHON) -m rig.vad_reference target/vad-reference --test
	V2M_ONNXRUNTIME="$$($(PYTHON) -c 'from importlib.util import find_spec; \
	    print(find_spec("onnxruntime").submodule_search_locations[0])')" \
	    cargo test --release --test library -- --ignored vad_ort
	V2M_VAD_LIVE_SECONDS=630 $(PYTHON) -m pytest --timeout 900 -q tests/pipewire/test_vad.py

test-vad-hours: setup-test
	@$(MAKE) --no-print-directory install
	V2M_VAD_HOURS=10 $(PYTHON) -m pytest --timeout 7200 -q tests/engine/test_vad.py -k hours

# Some four minutes, and 8 GB of memory.
test-vad-equal: setup-test
	@$(MAKE) --no-print-directory install
	V2M_VAD_EQUAL_HOURS=5.1 $(PYTHON) -m pytest --timeout 3000 -q -s tests/python/test_silero.py \
	    -k sample_numbers

# Some ten minutes.
test-python: setup-test
	@$(MAKE) --no-print-directory install
	V2M_TEST_ROUNDS=1000 V2M_TEST_KEPT_SECONDS=120 $(PYTHON) -m pytest --timeout 3000 -q \
	    --durations 10 tests/python/test_leaving.py tests/python/test_samples.py

# Some 22 minutes and 10 GB of disk.
test-record: setup-test
	@$(MAKE) --no-print-directory install
	V2M_TEST_RECORD_LONG=1 $(PYTHON) -m pytest --timeout 3000 -q --durations 10 tests/record
	V2M_TEST_RECORD_LONG=1 cargo test --workspace --test machine -- --ignored power_loss

# Some 40 minutes.
test-together: setup-test
	@$(MAKE) --no-print-directory install
	V2M_TEST_TOGETHER_LONG=1 $(PYTHON) -m pytest --timeout 3000 -q --durations 10 -n 5 \
	    tests/record/test_sources.py

# Some 20 minutes.
test-hostile: setup-test
	@$(MAKE) --no-print-directory install
	V2M_TEST_HOSTILE_LONG=1 $(PYTHON) -m pytest --timeout 3000 -q --durations 10 tests/hostile
	V2M_TEST_HOSTILE_LONG=1 $(PYTHON) -m pytest --timeout 600 -q -k "go" \
	    tests/engine/test_streams.py tests/pipewire/test_realtime.py

# Default changes, unplugging, kills, stalls, full disks, clock steps, drawn from a seed; at the end
# every sample is accounted for.
HOURS := 2
soak: setup-test
	@$(MAKE) --no-print-directory install
	$(PYTHON) -m soak --hours $(HOURS) $(if $(SEED),--seed $(SEED))

# The same for an hour, and what others lose under the same faults: docs/reliability.md.
soak-document: setup-test
	packaging/setup.sh peers
	@$(MAKE) --no-print-directory install
	$(PYTHON) benches/peers/faults.py
	$(PYTHON) -m soak --hours 1 --report target/soak/report.json
	$(PYTHON) -m soak.document target/soak/report.json target/peers/faults.json

# Three quarters of an hour.
test-echo: setup-test
	@$(MAKE) --no-print-directory install
	V2M_TEST_ECHO_SECONDS=1800 V2M_TEST_UTTERANCES=200 $(PYTHON) -m pytest --timeout 3000 -q \
	    tests/pipewire/test_clean.py tests/pipewire/test_virtual_microphone.py

# In a virtual environment of their own.
test-integrations: setup-test
	@$(MAKE) --no-print-directory install
	packaging/frameworks.sh
	V2M_ENGINE_BIN="$(CURDIR)/$(BINARY)" target/frameworks/bin/python -m pytest --timeout 300 -q \
	    tests/integrations/frameworks

# --- packages -----------------------------------------------------------------------

packages:
	packaging/setup.sh packages
	ARCH=$(ARCH) packaging/build.sh deb rpm wheel $(if $(filter arm64,$(ARCH)),,dsc sdist)

# What lies here is built, and called what the commit is called.
release:
	@git diff --quiet HEAD || { echo "make release: commit what is changed first, or it is in the packages" >&2; exit 1; }
	@$(MAKE) --no-print-directory packages
	packaging/build.sh sbom sums

test-arm64:
	@$(MAKE) --no-print-directory packages ARCH=arm64
	$(PYTHON) -m pytest --timeout 900 -q --durations 10 -o tmp_path_retention_policy=failed \
	    packaging/tests/test_arm64.py

test-packages:
	@$(MAKE) --no-print-directory packages ARCH=arm64
	@$(MAKE) --no-print-directory release
	@echo "== packages in clean roots, on a booted Debian, ARM64's under qemu, and all built again: hours, most of them compiling" >&2
	$(PYTHON) -m pytest --timeout 900 -q --durations 10 -o tmp_path_retention_policy=failed \
	    packaging/tests --ignore packaging/tests/quick

clean:
	cargo clean
	rm -rf $(VENV)
