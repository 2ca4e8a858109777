# The README's commands. BASE=nixpkgs takes nixpkgs instead of the embedded base.
BASE ?= debian
TARGET ?= cpu

# Over the user's own, a line to each.
define NIX_CONFIG :=
$(NIX_CONFIG)
extra-experimental-features = nix-command flakes
endef
export NIX_CONFIG

inputs-debian = --override-input nixpkgs path:./nix/debian
options-debian = --option substituters ''
options := $(options-$(BASE)) --option sandbox true --option sandbox-fallback false --max-jobs auto
vllm-nix = .venv/bin/vllm-nix
config = --config python/pyproject.toml
# The compiler that tests make libraries with is the base's own.
pytest = PATH="$$(nix-build --no-out-link nix/debian -A gcc --option substituters '')/bin:$$PATH" \
	.venv/bin/pytest -c python/pyproject.toml --rootdir .

.PHONY: help demo test test-library test-builds test-slow bench docs setup command fetch build lint lock outdated

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1: \2/p' Makefile

demo: command ## from nothing to a vLLM that answers
	@$(vllm-nix) demo --base $(BASE) $(TARGET) -- $(options)

build: fetch ## TARGET's environment, as ./result
	nix build .#vllm-$(TARGET) $(inputs-$(BASE)) $(options)

fetch: command ## what TARGET is made of, by its hash
	$(vllm-nix) fetch --base $(BASE) $(TARGET)

test: setup lint ## everything that CI runs
	$(vllm-nix) fetch cpu debian-cuda debian-cuda12 debian-docs vllm-sources
	$(MAKE) -j2 --output-sync test-library test-builds

# Builds wait for one another, and the library's tests for programs: both at once.
test-library:
	$(pytest) -m 'not slow' python/tests
test-builds:
	$(pytest) -m 'not slow' tests

test-slow: setup ## what takes hours, emulated or in a browser: apt-get install qemu-user-static binfmt-support chromium podman runc
	$(vllm-nix) fetch cpu cuda cuda_12 debian-cuda debian-cuda12 debian-cuda12-libraries vllm-sources verl verl_0_7_0 verl_0_7_1 verl_0_7_2 verl_0_7_3 verl_0_8_3
	$(vllm-nix) fetch --system aarch64-linux debian debian-cuda ascend jetson jetson_0_13 jetson_7
	-$(vllm-nix) fetch --system aarch64-linux ascend_0_23 # its Triton, which Huawei hands out, is not tested
	-$(vllm-nix) fetch ascend # its torch for x86_64 may be out of reach, and is not tested
	-$(vllm-nix) fetch neuron_0_24 # nor is its torch
	$(pytest) -m slow python/tests tests

lint: setup ## form and types
	.venv/bin/ruff check $(config) .
	.venv/bin/ruff format --check $(config) .
	cd python && ../.venv/bin/mypy
	.venv/bin/mypy --config-file tests/mypy.ini
	cd nix && MYPYPATH=wheels/unpack/builder ../.venv/bin/mypy --strict wheels/unpack/builder wheels/unpack/leave_out.py wheels/unpack/strip.py wheels/patch wheels/alias environment debian/build-support/docker wheels/vendor

bench: setup build ## ratios beside what one would otherwise run
	.venv/bin/python -m benchmarks
	.venv/bin/python -m benchmarks.size

docs: setup ## the pages and the picture that are generated from data
	.venv/bin/python -m docs.wheels
	.venv/bin/python -m docs.verify_table
	.venv/bin/python -m docs.recording

lock: setup ## TARGET's wheels, resolved again
	$(vllm-nix) lock $(TARGET)

outdated: setup ## newer releases of what targets pin, as the registry has them
	$(vllm-nix) outdated

setup: ## the command, and what its developers need
	@nix/setup.sh

command: ## the command alone
	@nix/setup.sh command
