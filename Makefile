# Start here: `make serve` and `make test`. Dependencies are installed into .venv automatically.
# PYTHON: the interpreter for .venv. HOST, PORT, MODEL_ID, ...: see docs/settings.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MYPY_CACHE_DIR ?= $(VENV)/.mypy_cache

.PHONY: ports sbom serve serve-qwen check-model test test-fast test-faults check format smoke bench soak lock clean
.DEFAULT_GOAL := serve
# Ports are checked before anything is installed.
.NOTPARALLEL:

serve: ports $(VENV)/serve.installed
	@sh local_stack/run.sh $(BIN)/python -m local_stack.serve

serve-qwen: ports $(VENV)/qwen.installed
	@sh local_stack/run.sh $(BIN)/python -m local_stack.serve --qwen

ports:
	@PYTHON="$(PYTHON)" sh local_stack/ports.sh $(BIN)/python

# Verify and time the engine on this machine: make check-model MODEL_ID=/path/to/checkpoint
check-model: $(VENV)/qwen.installed
	@$(BIN)/python -m speech_engines.qwen3_tts.check $(MODEL_ID) $(ARGS)

# WORKERS: parallel test processes, each with its own tritonserver; 0: run in this process.
WORKERS ?= 4
# Hundreds of processes start: without bytecode each compiles our modules again.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/dev.installed
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder $(ARGS)

# The tests that need no tritonserver and no torch.
test-fast: $(VENV)/dev.installed
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile -m "not slow" tests/contract tests/openai_frontend \
		tests/speech_client tests/speech_protocol tests/speech_text tests/triton_supervisor $(ARGS)

# The fault tests: killed processes, clients that read nothing, an unreachable Triton.
test-faults: $(VENV)/dev.installed
	$(BIN)/python -m pytest tests/faults $(ARGS)

check: $(VENV)/dev.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile.triton Dockerfile.triton-cpu Dockerfile.frontend
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@# The schema does not support Compose's tags.
	sed 's/ !reset//; s/ !override//' docker-compose.cpu.yml | $(BIN)/check-jsonschema --builtin-schema vendor.compose-spec --default-filetype yaml -
	$(BIN)/yamllint --strict .
	$(BIN)/python -m pytest -q tests/deploy/test_kubernetes.py tests/deploy/test_monitoring.py tests/deploy/test_alerts.py -k "kubernetes or promtool or panels or says or situation"
	PATH="$(BIN):$$PATH" $(BIN)/python requirements/audit.py

format: $(VENV)/dev.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The conformance checks against a running server: make smoke TTS_URL=http://127.0.0.1:8101
smoke: $(VENV)/serve.installed
	@$(BIN)/python -m client.smoke $(TTS_URL)

# Timings compared with qwen-tts, on full-size random weights (built once), into bench/results and docs/benchmarks.md;
# almost an hour on two cores. In a few minutes, with less precision: make bench ARGS=--quick
bench: $(VENV)/dev.installed
	$(BIN)/python -m bench $(ARGS)

# Soak test: mixed traffic, with failures and memory growth: make soak MINUTES=20
soak: $(VENV)/dev.installed
	$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),20) $(ARGS)

# Software bills of materials of the images, as CycloneDX, into out/.
sbom: $(VENV)/dev.installed
	@mkdir -p out
	$(BIN)/cyclonedx-py requirements requirements/frontend-image.txt --output-file out/sbom-frontend.json
	$(BIN)/cyclonedx-py requirements requirements/triton-image.txt --output-file out/sbom-triton.json
	$(BIN)/cyclonedx-py requirements requirements/triton-cpu-image.txt --output-file out/sbom-triton-cpu.json

# Pinned requirements from pyproject.toml; run it after a change there.
lock: $(VENV)/uv.installed
	@sh requirements/lock.sh $(BIN)/uv

$(VENV)/uv.installed: requirements/uv.txt
	@PYTHON="$(PYTHON)" sh requirements/bootstrap.sh $(VENV)

$(VENV)/%.installed: requirements/%.txt pyproject.toml $(VENV)/uv.installed
	@sh requirements/install.sh $(VENV) $< $@

clean:
	rm -rf $(VENV) .cache
