# `make help` lists what there is. Every target does all the set-up that it needs, once.

PYTHON ?= python3
STUDY ?= pruning_digits
BENCH ?=
UV := uv==0.13.9

PY := .venv/bin/python
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help study up docs bench test lint types check env lock clean

help: ## List the targets
	@echo "Usage: make TARGET [STUDY=name] [BENCH=name] [PYTHON=/path/to/python3]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' Makefile

study: $(READY) ## Run a study to its answer (STUDY=name for another than pruning_digits)
	@$(PY) -m trialhouse run $(STUDY)

up: $(READY) ## Start Airflow and its UI on this machine, and print where and how to log in (Ctrl-C stops it)
	@$(PY) -m trialhouse up

docs: $(READY) ## Build the documentation of the warehouse's tables
	@$(PY) -m trialhouse docs

bench: $(READY) ## Run the benchmarks (BENCH=name for one)
	@$(PY) -m tests.benchmarks $(BENCH)

test: $(READY) ## Run all tests
	@$(PY) -m pytest

lint: $(READY) ## Check the style and the format of the Python code
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(READY) ## Check the types
	@$(PY) -m mypy include/trialhouse

env: ## Write the secrets of docker-compose.yml to .env, if there are none yet
	@test -e .env || { umask 077; random() { head -c $$1 /dev/urandom | base64 | tr '+/' '-_'; }; \
	  for name in POSTGRES_PASSWORD AIRFLOW_PASSWORD JWT_SECRET API_SECRET; do echo "TRIALHOUSE_$$name=$$(random 48)"; done > .env.new; \
	  echo "TRIALHOUSE_FERNET_KEY=$$(random 32)" >> .env.new; mv .env.new .env; }
	@echo "The secrets are in .env; log in as trialhouse with the password TRIALHOUSE_AIRFLOW_PASSWORD"

lock: $(READY) ## Compile requirements.txt from pyproject.toml again
	@$(with_uv) uv compile pyproject.toml --extra dev --extra postgres -o requirements.txt
	@echo "requirements.txt has $$(grep -c '==' requirements.txt) packages"

clean: ## Remove the virtual environment and the caches (what studies wrote stays in var/)
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dbt_project/target dbt_project/logs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up: a virtual environment in .venv, made again when Python's version or the pins change. uv takes seconds where
# pip takes minutes; it does not read pip's configuration, so what pip is told (indexes, folders of wheels,
# certificates) is passed on, and where uv cannot be had or fails, pip does the work. Where pip is told nothing, uv takes
# the build of torch that fits the machine: without a GPU that saves gigabytes of CUDA. Bytecode is compiled here, as pip
# does: a study starts a dozen processes, which would otherwise compile the same modules side by side, or, where
# PYTHONDONTWRITEBYTECODE is set, compile them all again in every run.

define with_uv
says="$$($(PY) -m pip config list)"; \
setting() { echo "$$says" | sed -n "s/^[^=]*\.$$1='\(.*\)'$$/\1/p" | sed 's/\\n/ /g; q'; }; \
pass() { test -z "$$2" || eval "export $$1=\"\$${$$1:-\$$2}\""; }; \
pass UV_DEFAULT_INDEX "$$(setting index-url)"; \
pass UV_INDEX "$$(setting extra-index-url)"; \
pass UV_FIND_LINKS "$$(setting find-links | tr ' ' ',')"; \
pass SSL_CERT_FILE "$$(setting cert)"; \
pass UV_TORCH_BACKEND "$$(test -n "$$UV_INDEX$$UV_FIND_LINKS" || echo auto)"; \
pass UV_COMPILE_BYTECODE 1; \
uv() { UV_INDEX_STRATEGY=unsafe-best-match $(PY) -m uv pip "$$@" --quiet; };
endef
# Or uv takes the Python version that pyproject.toml gives for compiling the pins.
this_python = --python-version "$$($(PY) -c 'import platform; print(platform.python_version())')"
pip = $(PY) -m pip -qq --disable-pip-version-check

$(READY): requirements.txt pyproject.toml
	@command -v git >/dev/null || { echo "git must be installed; install it with the system's package manager" >&2; exit 2; }
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 to 3.13 must be installed, got no $(PYTHON); install it, or name it: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "Python must be 3.11, 3.12 or 3.13, got $$($(PYTHON) -V 2>&1); name another: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module must be installed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@if test "$$($(PY) -V 2>/dev/null)" != "$$($(PYTHON) -V)"; then echo "set-up: virtual environment in .venv"; $(PYTHON) -m venv --clear .venv; fi
	@echo "set-up: $$(grep -c '==' requirements.txt) packages"
	@$(with_uv) $(pip) install $(UV) && uv install $(this_python) -r requirements.txt && uv install --no-deps -e . || \
	  { echo "set-up: uv did not do it; pip takes a few minutes"; $(pip) install -r requirements.txt && $(pip) install --no-deps -e .; }
	@touch $@
