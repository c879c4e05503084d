# Everything that one does with this repository. `make` alone lists it.
# Each target installs what it needs first, once, into .venv/.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PROVING := $(VENV)/.proving
export HF_HUB_OFFLINE := 1

# A proof or a benchmark is a script of its name; the lists give the order in which all of them run.
PROOFS := $(foreach part,resume-methods resume learning serve capture again doctor signing,$(if $(wildcard prove/$(subst -,_,$(part)).py),prove-$(part)))
BENCHES := $(foreach part,loss arithmetic rollout train-vs-trl communes worth examples capture capture-students serve,$(if $(wildcard bench/$(subst -,_,$(part)).py),bench-$(part)))

# The pack that a bundle carries: the newest, unless one is named.
PACK ?= $(firstword $(shell ls -td runs/*/6-pack 2>/dev/null))

.PHONY: help install bundle demo demo-full demo-short test check check-pages check-wheel docs docs-check prove bench clean $(PROOFS) $(BENCHES)

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14
	@echo "parts         $(PROOFS) $(BENCHES)"

install: $(INSTALLED)  ## make .venv/ with all that the other targets need

$(INSTALLED): pyproject.toml constraints.txt scripts/install.py
	$(PYTHON) scripts/install.py $(VENV)
	@touch $@

demo: $(INSTALLED)  ## distil the assistant for the communes, then put questions to it
	$(RUN) scripts/fetch_student.py
	$(VENV)/bin/cornue run recipes/communes.toml
	$(RUN) scripts/show_demo.py recipes/communes.toml

demo-full: demo bench-worth  ## the demo, then the same student by other ways: was the teacher worth having?
	$(RUN) scripts/show_demo.py --recorded

demo-short: $(INSTALLED)  ## the same journey with few steps: shows that it works, not how well
	$(RUN) scripts/fetch_student.py
	$(VENV)/bin/cornue run recipes/communes-short.toml
	$(RUN) scripts/show_demo.py recipes/communes-short.toml

test: $(INSTALLED)  ## all tests, offline
	$(RUN) -m pytest --numprocesses=auto --dist=loadfile

check: $(INSTALLED)  ## lint, format, types, the rules of the architecture
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m mypy --allow-untyped-calls --allow-subclassing-any bench scripts
	$(RUN) -m mypy --allow-untyped-calls --allow-subclassing-any prove
	$(RUN) scripts/architecture.py
	$(RUN) -m pytest tests/rules

check-pages: $(PROVING)  ## the pages in a real browser at two widths, with axe; needs Chromium
	PYTHONPATH=bench $(RUN) prove/serve.py --short --only browser

bundle: $(INSTALLED)  ## what a machine without network needs to serve PACK=…, in build/bundle/
	$(RUN) scripts/bundle.py $(PACK)

check-wheel: $(INSTALLED)  ## build the wheel, install it alone, import it without torch
	$(RUN) scripts/check_wheel.py

docs-check: $(INSTALLED)  ## build the site without writing the generated parts
	$(VENV)/bin/properdocs build --strict --quiet

docs: $(INSTALLED)  ## write the generated parts, build the site in site/
	$(RUN) scripts/build_docs.py
	$(VENV)/bin/properdocs build --strict --quiet

prove: $(PROOFS)  ## all the long proofs; their results go to docs/results/

bench: $(BENCHES)  ## all the comparisons; their results go to docs/results/

$(PROVING): $(INSTALLED)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[prove,postgres]'
	@touch $@

prove-serve: $(PROVING)

$(PROOFS): prove-%: $(INSTALLED)
	PYTHONPATH=bench $(RUN) prove/$(subst -,_,$*).py

prove-resume: prove-resume-methods

$(BENCHES): bench-%: $(INSTALLED)
	$(RUN) bench/$(subst -,_,$*).py

clean:  ## remove what was installed and built; runs/ and models stay
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
