# spar_kit: two commands are enough. `make study` runs the end-to-end demo, `make test` checks everything. `make` alone lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup study seeds test test-minimum test-newest lock in-step readme notebooks unit style lab bench docs docs-lock clean distclean FORCE

VENV   := .venv
BIN    := $(VENV)/bin
TORCH  ?= torch==2.13.0
# PyTorch's index of CPU wheels, as its install page names it: wanted only where plain pip would bring the CUDA build to a machine without a GPU
TORCH_INDEX ?=
# the file of versions and hashes that `make setup` installs from; empty for the newest that pyproject.toml allows. The choice is kept in .venv
LOCK ?= $(shell cat $(VENV)/.choice 2>/dev/null || echo requirements/lock.txt)
# which scenes the study uses: empty for the embedded procedural ones, or scannet:PATH
SCENES ?=
PARAMS ?= params/studies/demo.yaml
export PATH := $(CURDIR)/$(BIN):$(PATH)
# figures are stored as data, not as copies of a library; Jupyter keeps its files where the platform wants them
export PLOTLY_RENDERER := plotly_mimetype
export JUPYTER_PLATFORM_DIRS := 1
export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:  ## what can be typed here
	@echo "spar_kit: from a room to spatial questions, a tuned model and a report"
	@echo
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'
	@echo
	@echo "  SCENES=scannet:PATH   run the study on scans in ScanNet's layout, e.g. make study SCENES=scannet:../shared/data/small_house"
	@echo "  PARAMS=FILE.yaml      run another file of params/studies/, e.g. make study PARAMS=params/studies/sweep_mix.yaml"
	@echo "  LOCK=                 install the newest of everything that pyproject.toml allows, instead of what requirements/lock.txt names"
	@echo "  TORCH_INDEX=URL       PyTorch's index of CPU wheels, for a machine without a GPU where pip would bring the CUDA build"

# ---- set-up: each step leaves a stamp in .venv and is skipped while the stamp is newer than what it depends on
setup: $(VENV)/.installed  ## create .venv and install everything into it

$(VENV)/.created: .ci/setup
	@.ci/setup venv $(VENV)
	@touch $@

$(VENV)/.libraries: $(VENV)/.created
	@.ci/setup libraries
	@touch $@

$(VENV)/.torch: $(VENV)/.created
	@TORCH="$(TORCH)" TORCH_INDEX="$(TORCH_INDEX)" .ci/setup torch $(VENV)
	@touch $@

# written anew only where the choice differs from the last one
$(VENV)/.choice: FORCE | $(VENV)/.created
	@echo "$(LOCK)" | cmp -s - $@ || echo "$(LOCK)" > $@

$(VENV)/.installed: pyproject.toml $(LOCK) $(VENV)/.choice $(VENV)/.libraries $(VENV)/.torch
	@TORCH="$(TORCH)" .ci/setup packages $(VENV) "$(LOCK)"
	@touch $@

FORCE:

# ---- versions. The resolver is uv, in an environment of its own: one file for Linux and macOS, Python 3.11 to 3.13, with the hashes of all
# files of a version (pip-tools writes for the machine it runs on). Torch stays outside: its file depends on the machine, see TORCH
UV      := .venv-uv/bin/uv
RESOLVE := $(UV) --config-file requirements/uv.toml pip compile pyproject.toml --extra train --extra dev --universal --fork-strategy fewest \
  --python-version 3.11 --no-emit-package torch --generate-hashes --no-annotate --custom-compile-command "make lock" --quiet
TORCH_MINIMUM ?= $(TORCH)

$(UV): .ci/setup
	@.ci/setup venv .venv-uv
	@.venv-uv/bin/python -m pip install -q uv
	@touch $@

lock: $(UV)  ## renew requirements/lock.txt: the newest versions that pyproject.toml allows
	@$(RESOLVE) --upgrade -o requirements/lock.txt
	@git diff --stat -- requirements/lock.txt

test-minimum: $(UV)  ## pytest with the lowest versions that pyproject.toml declares, in an environment of its own
	@$(RESOLVE) --upgrade --resolution lowest-direct -o .venv-uv/minimum.txt
	@$(MAKE) VENV=.venv-minimum LOCK=.venv-uv/minimum.txt TORCH="$(TORCH_MINIMUM)" setup unit

test-newest:  ## all checks with the newest versions of everything, in an environment of its own
	@$(MAKE) VENV=.venv-newest LOCK= test

# ---- the documentation site, in an environment of its own: its tools need nothing of the package, and the package nothing of them
DOCS := .venv-docs

$(DOCS)/.installed: requirements/docs.txt .ci/setup
	@.ci/setup venv $(DOCS)
	@echo "== installing what requirements/docs.txt names, each file by its hash"
	@$(DOCS)/bin/python -m pip install -q --no-deps --only-binary :all: --require-hashes -r requirements/docs.txt
	@touch $@

docs: $(DOCS)/.installed  ## the documentation site from notebooks and docs/, links checked: _site/index.html
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet
	@$(DOCS)/bin/python .ci/links.py _site README.md CONTRIBUTING.md CHANGELOG.md docs
	@echo "== $(CURDIR)/_site/index.html"

docs-lock: $(UV)  ## renew requirements/docs.txt
	@$(UV) pip compile --group pyproject.toml:docs --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --custom-compile-command "make docs-lock" --quiet --upgrade -o requirements/docs.txt
	@git diff --stat -- requirements/docs.txt

# ---- the road
study: setup  ## the end-to-end demo: scenes, questions, training, evaluation; the last line is the report's path
	@spar sweep "$(PARAMS)" $(if $(SCENES),--set "generate.source=$(SCENES)" --name "$(basename $(notdir $(PARAMS)))-$(firstword $(subst :, ,$(SCENES)))")

# JupyterLab would greet with two questions: whether to rebuild itself (for Dash, which Open3D brings along) and whether to fetch news
lab: setup  ## JupyterLab on the index notebook
	@mkdir -p $(VENV)/etc/jupyter/labconfig
	@echo '{"buildCheck": false, "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}' > $(VENV)/etc/jupyter/labconfig/page_config.json
	@jupyter lab --LabApp.default_url=/lab/tree/nbs/index.ipynb $(LAB)

bench: setup  ## how fast the kit is on one core of this machine: frames/s and records/s per task
	@OMP_NUM_THREADS=1 python -c "from spar_kit.cli.speed import main; main()"

# ---- the checks
test: setup in-step notebooks unit style  ## notebooks in step with package and README, their cells, pytest, contracts, ruff, types
	@echo "== all checks passed"

in-step:
	@echo "== notebooks clean, package and README in step with them"
	@.ci/in-step

notebooks:
	@echo "== notebooks run"
	@OMP_NUM_THREADS=1 nbdev_test --n_workers 2

unit:
	@echo "== pytest"
	@OMP_NUM_THREADS=1 python -m pytest -q tests

style:
	@echo "== import contracts, ruff, types, spelling"
	@lint-imports
	@ruff check spar_kit nbs tests .ci docs
	@ruff format --check nbs tests .ci docs
	@mypy
	@codespell README.md CONTRIBUTING.md CHANGELOG.md docs nbs

# ten trainings, about two hours on two cores
seeds: setup  ## measure the demo with several seeds, keep the figures and write them into the README
	@spar sweep params/studies/demo_seeds.yaml
	@cp runs/seeds-*/out/demo_seeds.json spar_kit/bench/analysis/demo_seeds.json
	@jupyter nbconvert --to notebook --execute --inplace nbs/index.ipynb && nbdev_clean && python .ci/readme.py

readme: setup  ## write README.md from nbs/index.ipynb
	@python .ci/readme.py

clean:  ## remove runs and reports, keep the environment
	@rm -rf runs build dist _site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find reports -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	@find nbs spar_kit tests -name __pycache__ -o -name .ipynb_checkpoints | xargs -r rm -rf

distclean: clean  ## remove the environments as well
	@rm -rf $(VENV) .venv-uv .venv-minimum .venv-newest $(DOCS)
