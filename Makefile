# make run    install into .venv, run config/config.yaml (or CONFIG=..), say where the results are
# make test   install, then all tests
# make help   everything else

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install run benchmark shell paper paper-plan test test-paper test-kill test-cluster test-rivals test-containers test-oldest lint docs bench lock schema clean

help:
	@echo "make run      install, run the default configuration, say where labels, scores and report are"
	@echo "make run CONFIG=my_data.yaml   the same for a configuration of yours"
	@echo "make benchmark   install, compare with all published tools that pip can install, on the default cells (9 GB)"
	@echo "make benchmark CONFIG=my_data.yaml   the same on yours, with the methods that it names"
	@echo "make shell    install, and open a shell in which plkd, snakemake and python are those of .venv"
	@echo "make paper    install, download the data sets of the paper, run them, make its tables and figures"
	@echo "make paper datasets=bmmc,pbmc   some of them (names of config/datasets); paper-plan: only say what it takes"
	@echo "make test     install, then run all tests"
	@echo "make test-paper  the whole paper on miniature twins of its data sets (half an hour)"
	@echo "make test-kill   a run that is killed at every stage ends with the same files (minutes)"
	@echo "make test-cluster  sets up Slurm here (Debian: slurm-wlm, munge), runs on it, loses a job and the node (minutes)"
	@echo "make test-rivals  installs the published tools that we compare with, and tries each (half an hour, 10 GB)"
	@echo "make test-containers  builds the images of Docker and Apptainer where these are installed (10 GB)"
	@echo "make test-oldest  unit tests with the oldest versions that pyproject.toml allows"
	@echo "make docs     build the documentation, executing its notebooks: docs/_build/html/index.html"
	@echo "make lint     style, types and workflow checks"
	@echo "make bench    time and memory of models and preparation, as tables (30 minutes, 20 GB of disk)"
	@echo "make lock     resolve the dependencies of pyproject.toml (needs uv); UPGRADE=1 to the newest versions"
	@echo "make schema   write the schema and the table of settings (config/presets.md)"
	@echo "make clean    remove results of the default configuration, keep downloads"
	@echo "Variables: PYTHON=python3.12 (interpreter to install with), CORES=4 (default: all)"

install: $(VENV)/.run

# The pinned packages, then this project itself.
$(VENV)/.run: envs/plkd.lock envs/workflow.lock pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); sys.exit(None if ok else "PLKD needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is " + sys.version.split()[0] + ". Install one of them and say: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/plkd.lock -r envs/workflow.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run envs/dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/dev.lock
	@touch $@

run: install
	snakemake --cores $(CORES) $(if $(CONFIG),--configfile $(CONFIG))
	@cat results/summary.txt

# pip makes the environments of the tools in the first run; a configuration of yours names its methods itself.
benchmark: install
	snakemake --cores $(CORES) $(if $(CONFIG),--configfile $(CONFIG),--config methods='[library,pip]') -- benchmark
	@echo "Which method for these cells: results/benchmark/benchmark.html"

shell: install
	@bash -c 'exec bash --rcfile <(echo "[ -f ~/.bashrc ] && . ~/.bashrc; . $(CURDIR)/$(VENV)/bin/activate")'

# What is to be downloaded and how long it takes is said first. --keep-going: a publisher's server that is
# down does not hold up the other data sets. Said again, it goes on where it was.
comma := ,
PAPER := snakemake --cores $(CORES) --configfile config/paper.yaml $(if $(datasets),--config datasets='[$(patsubst %,config/datasets/%.yaml$(comma),$(subst $(comma), ,$(datasets)))]')

paper-plan: install
	@$(PAPER) --quiet all -- paper_plan
	$(PAPER) --dry-run --quiet rules -- paper

paper: install
	@$(PAPER) --quiet all -- paper_plan
	$(PAPER) --keep-going -- paper
	@echo "The paper, each number beside what was found here: results/paper/paper.html"

test: $(VENV)/.dev
	pytest -n auto --dist loadgroup --no-loadscope-reorder --max-worker-restart 0

test-paper: $(VENV)/.dev
	pytest -m paper

test-kill: $(VENV)/.dev
	pytest -m kill

test-cluster: $(VENV)/.dev
	pytest -m cluster

test-rivals: $(VENV)/.dev
	pytest -m rivals

# Images of gigabytes, removed in the end. Apptainer runs the %test of its definition as well.
test-containers:
	@if docker info > /dev/null 2>&1; then \
	  docker build --tag plkd-test --file envs/Dockerfile . && docker run --rm plkd-test snakemake --version; \
	  ended=$$?; docker image rm --force plkd-test > /dev/null 2>&1; exit $$ended; \
	else echo "skipped: there is no Docker that answers here, envs/Dockerfile is not built"; fi
	@if apptainer --version > /dev/null 2>&1; then \
	  folder=$$(mktemp -d) && apptainer build $$folder/plkd.sif envs/plkd.def && apptainer exec $$folder/plkd.sif snakemake --version; \
	  ended=$$?; rm -rf "$$folder"; exit $$ended; \
	else echo "skipped: Apptainer is not installed here, envs/plkd.def is not built"; fi

# Python 3.11 is the oldest we support, and old versions have no wheels for newer ones.
test-oldest:
	python3.11 -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip install --quiet --disable-pip-version-check -r envs/oldest.lock \
		-c envs/dev.lock -c envs/workflow.lock pytest pytest-xdist hypothesis pyftpdlib psutil
	$(VENV)-oldest/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(VENV)-oldest/bin/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder tests/unit

$(VENV)/.docs: $(VENV)/.run envs/docs.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/docs.lock
	@touch $@

# A warning is an error: a broken link, a docstring that is no reStructuredText, a notebook that fails.
docs: $(VENV)/.docs
	sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

lint: $(VENV)/.dev
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	@if command -v hadolint > /dev/null; then hadolint envs/Dockerfile; else echo "hadolint is not installed: envs/Dockerfile is not checked"; fi

bench: install
	python tests/benchmarks/speed.py
	python tests/benchmarks/imports.py
	python tests/benchmarks/prepare.py
	python tests/benchmarks/annotate.py
	python tests/benchmarks/busy.py
	python tests/benchmarks/larger_than_memory.py

lock:
	$(PYTHON) envs/make_locks.py $(if $(UPGRADE),--upgrade)

schema: install
	python -m plkd.settings.presets > workflow/schemas/variant.schema.yaml
	python -m plkd.settings.preset_sources > config/presets.md

clean:
	rm -rf results/*/ results/*.txt results/*.html logs benchmarks
