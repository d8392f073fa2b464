# Every target works from a clean clone with Python 3.11 or 3.12, make and pip. `make PYTHON=… VENV=… PIP_FLAGS=…` overrides.

VENV ?= .venv
PHOTO ?= docs/images/armchair.png
MESH ?= demo/chair.glb
PIP_FLAGS ?=
# Waiting threads sleep. On a busy processor, active waiting takes several times as long.
export OMP_WAIT_POLICY ?= passive
# More than two threads are slower on small tensors. Set OMP_NUM_THREADS yourself on a larger machine.
export OMP_NUM_THREADS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); test $$n -lt 2 && echo 1 || echo 2)

SUITABLE = import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do $$python -c '$(SUITABLE)' 2>/dev/null && echo $$python && break; done)
PIP = $(VENV)/bin/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt
DESCRIPTION = pyproject.toml setup.py constraints.txt

# All training stages, from no data to the weights of a pipeline. FLAGS are passed to each stage: "--run.max_minutes 8".
RECIPE ?= configs/mini/gpu
RUNS ?= runs/mini/gpu
FLAGS ?=
finished = test -d $(RUNS)/$(1) || { echo "this stage is not finished: run the same command again"; exit 1; }

.PHONY: help install demo test validate-assets lint typecheck benchmark attack recipe dist clean

help:
	@echo "make demo        install, then turn $(PHOTO) into $(MESH) and demo/turntable.webp"
	@echo "make test        install the test dependencies, then lint, check types and run all tests"
	@echo "make validate-assets  install the Khronos glTF validator (needs npm) and check written GLB files with it"
	@echo "make lint        ruff: rules and format"
	@echo "make typecheck   mypy"
	@echo "make benchmark   speed and validity of the shape generator, quality of pipelines/mini"
	@echo "make recipe      train pipelines/mini from scratch, all stages, on one large GPU (docs/recipe.md)"
	@echo "make attack      read thousands of damaged and malicious files of every kind; kill runs at every file operation"
	@echo "make dist        build the sdist and the wheel into dist/ and check their metadata"
	@echo "make clean       remove $(VENV), caches and demo output"

install: $(VENV)/installed

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "triplane3d needs Python 3.11 or 3.12 (with the venv module); none was found"; exit 1; }
	$(PYTHON) -m venv $(VENV) 2>/dev/null || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
	    && $(PYTHON) -m pip --python $(VENV)/bin/python install --quiet $(PIP_FLAGS) pip; }

# torch is installed first and by name: see constraints.txt.
$(VENV)/torch: constraints.txt | $(VENV)/bin/python
	$(PIP) torch
	@touch $@

$(VENV)/installed: $(DESCRIPTION) $(VENV)/torch
	$(PIP) -e .
	@touch $@

$(VENV)/installed-test: $(DESCRIPTION) $(VENV)/torch
	$(PIP) -e ".[test]"
	@touch $@ $(VENV)/installed

demo: $(VENV)/installed
	@mkdir -p demo
	HF_HUB_OFFLINE=1 $(VENV)/bin/triplane3d generate $(PHOTO) -o $(MESH) --preview demo/turntable.webp

test: lint typecheck
	HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest

validate-assets: $(VENV)/installed-test
	npm ci --prefix tests/gltf --no-audit --no-fund
	HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest tests/assets/test_gltf_validator.py

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

typecheck: $(VENV)/installed-test
	$(VENV)/bin/mypy

benchmark: $(VENV)/installed-test
	$(VENV)/bin/python benchmarks/shapes.py
	$(VENV)/bin/python scripts/evaluate.py pipelines/mini --output runs/eval/mini.json

# COUNT damaged copies of most kinds of files; SEED picks other damage.
COUNT ?= 750
SEED ?= 0
attack: $(VENV)/installed-test
	$(VENV)/bin/python tests/attack --count $(COUNT) --seed $(SEED)
	$(VENV)/bin/python benchmarks/fuzz_photos.py --count $(COUNT) --seed $(SEED)
	TRIPLANE3D_KILL_STRIDE=1 $(VENV)/bin/python -m pytest tests/training/test_durability.py tests/pipelines/test_pickles.py

recipe: $(VENV)/installed-test
	$(VENV)/bin/python scripts/train_autoencoder.py $(RECIPE)/autoencoder.yaml $(FLAGS)
	@$(call finished,autoencoder/vae)
	$(VENV)/bin/python scripts/encode_latents.py $(RECIPE)/latents.yaml
	$(VENV)/bin/python scripts/train_denoiser.py $(RECIPE)/denoiser.yaml $(FLAGS)
	@$(call finished,denoiser/transformer)
	$(VENV)/bin/python scripts/distill_denoiser.py $(RECIPE)/distill.yaml $(FLAGS)
	@$(call finished,distill/transformer)
	$(VENV)/bin/python scripts/assemble_pipeline.py $(RUNS)/autoencoder $(RUNS)/distill pipelines/mini
	$(VENV)/bin/python scripts/evaluate.py pipelines/mini --output runs/eval/mini.json

# With TRIPLANE3D_FILES_URL the description keeps its links and pictures: see setup.py.
dist: $(VENV)/installed-test
	$(PIP) build twine
	rm -rf dist
	$(VENV)/bin/python -m build
	$(VENV)/bin/twine check --strict dist/*

clean:
	rm -rf $(VENV) build dist demo triplane3d.egg-info .pytest_cache .mypy_cache .ruff_cache
