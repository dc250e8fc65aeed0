# `make help` lists the targets. Every KEY=VALUE on the command line is passed on to the program:
#   make train-mnist optimizer.lr=0.01 trainer.epochs=2
# ARGS are Hydra's own options: make train-mnist ARGS=-m seed=0,1,2

SHELL := /bin/sh
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; print("$(name)" if (3, 11) <= sys.version_info < (3, 14) else "")' 2>/dev/null)))
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/installed

# MAKEOVERRIDES holds the KEY=VALUEs, a space in a value as "\ " and a dollar as two; `quoted` turns each
# into one word in single quotes, whatever the shell would make of its characters.
SPACE := $(subst x,,x x)
WORDS = $(filter-out ARGS=% PYTHON=%,$(subst \$(SPACE),•,$(MAKEOVERRIDES)))
quoted = $(subst •,$(SPACE),$(patsubst %,'%',$(subst ','\'',$(subst $$$$,$$,$(1)))))
value_of = $(call quoted,$(patsubst $(1)=%,%,$(filter $(1)=%,$(WORDS))))
OVERRIDES = $(ARGS) $(call quoted,$(WORDS))
# Refuses the KEY=VALUEs that a target does not read.
only = $(foreach word,$(filter-out $(addsuffix =%,$(1)),$(WORDS)),\
	$(error $(word): this target reads only ARGS $(addsuffix =VALUE,$(1))))
COMMA := ,
given = $(subst $(COMMA), ,$(patsubst $(1)=%,%,$(filter $(1)=%,$(WORDS) $(ARGS))))
need_run = $(if $(call value_of,run),,$(error give run=latest or run=FOLDER))

# A target needs parts of the packages: a framework (numpy: the base that all need) or an extra of
# pyproject.toml. A .venv that has everything, or other parts as well, is kept up to date as a whole.
PARTS := $(addprefix $(READY)-,numpy torch keras tools)
SIZE_numpy := NumPy (0.4 GB)
SIZE_torch := torch with its CUDA libraries (6 GB)
SIZE_keras := Keras and TensorFlow (2 GB)
SIZE_tools := packages of the tools (0.6 GB)
parts = $(or $(wildcard $(READY)),$(sort $(wildcard $(PARTS)) $(addprefix $(READY)-,$(1))),$(firstword $(PARTS)))
# The framework that a command names, else that of its experiment or application; a resumed run has its own.
settings = $(wildcard $(patsubst %,conf/experiment/%.yaml,$(call given,+experiment)) conf/$(1).yaml) conf/base.yaml
framework = $(shell sed -n 's/^framework: *\([a-z]*\).*/\1/p' $(call settings,$(1)) | head -n 1)
# `latest` is the run that tools/runs.py finds: the newest that is done.
LATEST = $$(ls -t outputs/*/*/metrics.json outputs/*/sweep_*/*/metrics.json | xargs grep -l '"status": "done"' | sed 's/[^/]*$$//;q')
framework_of_run = $(shell exec 2>/dev/null; sed -n 's/^framework: *//p' $(patsubst 'latest',$(LATEST),$(call value_of,run))/config.yaml)
training = $(call parts,$(filter torch keras,$(or $(call given,framework),\
	$(if $(or $(call given,trainer.resume),$(call given,resume)),numpy,$(call framework,$(1))))) $(2))
EXTRAS = $(subst all,torch keras tools,$(call given,extra))
REQUESTED = $(if $(EXTRAS),$(call parts,$(EXTRAS)),$(READY))
$(if $(filter install,$(MAKECMDGOALS)),$(foreach extra,$(filter-out numpy torch keras tools,$(EXTRAS)),\
	$(error extra=$(extra): choose from all, numpy, torch, keras, tools)))
.NOTPARALLEL:  # one installation at a time

# Refuse a word without `=`: make would train with the defaults first, and then fail on it.
TARGETS := $(shell sed -n 's/^\([a-z-]*\):.* \#\# .*/\1/p' Makefile) $(READY) $(PARTS)
$(foreach word,$(filter-out $(TARGETS),$(MAKECMDGOALS)),\
	$(error there is no target '$(word)' (see `make help`); a key is set with $(word)=VALUE))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  KEY=VALUE sets any key of an application: make train-mnist optimizer.lr=0.01 trainer.epochs=2'
	@echo '  list the keys of an application: .venv/bin/python -m apps.mnist_cnn --help'

.PHONY: install
install: $(REQUESTED) ## set up .venv with everything (extra=numpy, torch, keras or tools: only with that)
	@$(call only,extra):

# requirements.lock is the only source of versions, also of uv's; every file is checked against its hash.
# An existing .venv is updated in place, so that it still works if the update fails (no network).
# Bytecode is compiled here, once, unless the first start may save it: PYTHONDONTWRITEBYTECODE forbids that.
# With repository.pth, `python apps/NAME/__main__.py` finds the packages, as an editor runs it.
define start_install
	@if [ -z '$(PYTHON)' ]; then \
		echo 'error: Python 3.11, 3.12 or 3.13 was not found; give its path with PYTHON=/path/to/python' >&2; exit 2; fi
	@echo 'installing into $(VENV): $(1) ...'
	@[ -x $(VENV)/bin/pip ] || $(PYTHON) -m venv --clear $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	@$(VENV)/bin/pip install --quiet --no-deps --require-hashes --requirement $(VENV)/uv.lock
endef
define finish_install
	@$(VENV)/bin/uv pip install --quiet $(2) --python $(RUN) --require-hashes \
		--constraint requirements.lock --requirement $(1)
	@for folder in $(VENV)/lib/python3*/site-packages; do echo '$(CURDIR)' > $$folder/repository.pth; done
endef

$(READY): requirements.lock
	$(call start_install,everything (9 GB))
	$(call finish_install,requirements.lock,--compile-bytecode)
	@touch $@

# The packages of a part come from pyproject.toml, their versions and hashes from requirements.lock. uv is
# removed again, because it is as large as SciPy.
$(PARTS): $(READY)-%: requirements.lock
	$(call start_install,$(SIZE_$*))
	@$(VENV)/bin/uv pip compile --quiet --no-deps --no-header --python $(RUN) --constraint requirements.lock \
		$(patsubst %,--extra %,$(filter-out numpy,$*)) pyproject.toml --output-file $(VENV)/$*.txt
	$(call finish_install,$(VENV)/$*.txt,$(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode))
	@$(VENV)/bin/pip uninstall --quiet --yes uv
	@touch $@

.PHONY: train-xor
train-xor: $(call training,xor) ## train on XOR (model=two_layer, published or no_biases)
	@$(RUN) -m apps.xor $(OVERRIDES)

.PHONY: train-mnist
train-mnist: $(call training,mnist_cnn) ## train on MNIST (model=cnn, mlp, fast_cnn or accurate_cnn; framework=torch, keras or numpy)
	@$(RUN) -m apps.mnist_cnn $(OVERRIDES)

.PHONY: train-imdb
train-imdb: $(call training,imdb_rnn) ## train on IMDB (model=lstm, bilstm, rnn, bow or nbsvm; framework=torch, keras or numpy)
	@$(RUN) -m apps.imdb_rnn $(OVERRIDES)

.PHONY: train-resnet
train-resnet: $(call training,resnet_transfer,torch) ## train a ResNet or MobileNet on few labeled images (transfer.mode=frozen, finetune, scratch or compare)
	@$(RUN) -m apps.resnet_transfer $(OVERRIDES)

.PHONY: train-attention
train-attention: $(call training,attention) ## train attention to look values up, or to weight words (data=recall or imdb)
	@$(RUN) -m apps.attention $(OVERRIDES)

.PHONY: train-gradient-flow
train-gradient-flow: $(call training,gradient_flow) ## chart where gradients vanish or explode (framework=numpy, torch or keras)
	@$(RUN) -m apps.gradient_flow $(OVERRIDES)

.PHONY: evaluate
evaluate: $(call parts) ## score a finished run again (run=latest or run=FOLDER; data=NAME: other data)
	@$(need_run)$(RUN) -m tools.evaluate $(ARGS) $(call value_of,run) $(call quoted,$(filter-out run=%,$(WORDS)))

.PHONY: predict
predict: $(call parts) ## predict with a finished run (run=latest input=digit.png; ARGS='a.png b.png': several inputs)
	@$(call only,run input)$(need_run)$(RUN) -m tools.predict $(call value_of,run) $(call value_of,input) $(ARGS)

.PHONY: export
export: $(call parts,$(if $(findstring keras,$(ARGS) $(framework_of_run)),keras,torch tools)) ## write the network of a run for other programs (run=latest; ARGS='--format keras')
	@$(call only,run)$(need_run)$(RUN) -m tools.export $(call value_of,run) $(ARGS)

.PHONY: explore
explore: $(call parts) ## write a page to explore the network of a run, forward and backward (run=latest)
	@$(call only,run)$(need_run)$(RUN) -m tools.explore $(call value_of,run) $(ARGS)

.PHONY: rerun
rerun: $(call parts) ## repeat a run and compare the results to the last bit (run=latest)
	@$(call only,run)$(need_run)$(RUN) -m tools.rerun $(call value_of,run) $(ARGS)

.PHONY: new-app
new-app: $(call parts) ## write a new application to start from (name=NAME; CONTRIBUTING.md)
	@$(call only,name)$(RUN) -m tools.new_app $(call value_of,name)

.PHONY: sweep
sweep: $(call training,$(call given,app),tools $(if $(filter resnet%,$(call given,app)),torch)) ## search for the best hyperparameters (app=mnist_cnn; resume=FOLDER: an interrupted study)
	@$(RUN) -m tools.sweep $(OVERRIDES)

.PHONY: report
report: $(call parts) ## write one HTML page of all runs in outputs/ (ARGS='FOLDER ... --out FILE': other runs)
	@$(call only)$(RUN) -m tools.report $(ARGS)

.PHONY: lessons
lessons: $(READY) ## execute the lessons and write their pages (name=04: one lesson)
	@$(RUN) -m tools.lessons $(OVERRIDES)

.PHONY: check
check: $(call parts) ## check a layer that you wrote (file=my_layer.py:MyLayer, input=4,3: shape of its input)
	@$(RUN) -m tools.check $(OVERRIDES)

.PHONY: gradcheck
gradcheck: $(READY) ## compare the hand-written gradients with torch, Keras and finite differences (case=NAME, out=FILE)
	@$(RUN) -m tools.gradcheck $(OVERRIDES)

.PHONY: bench
bench: $(READY) ## measure the speed against what people would use instead (case=NAME, peers=PATH)
	@$(RUN) -m tools.bench $(OVERRIDES)

.PHONY: regress
regress: $(READY) ## check that no application has become less accurate (case=NAME, case=short)
	@$(RUN) -m tools.regress $(OVERRIDES)

.PHONY: bless
bless: $(READY) ## record a new baseline for `make regress` (case=NAME) and print old against new
	@$(RUN) -m tools.regress --bless $(OVERRIDES)

.PHONY: test
test: $(READY) ## run the tests, except the slow ones (about 6 minutes)
	@$(RUN) -m pytest -n auto --dist worksteal -m 'not slow'

.PHONY: test-slow
test-slow: $(READY) ## run the slow tests, among them whole trainings (about 30 minutes)
	@$(RUN) -m pytest -n auto --dist worksteal -m slow

.PHONY: lint
lint: $(READY) ## run ruff and mypy
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

.PHONY: results
results: $(READY) ## update the generated tables of README.md and docs/ from the recorded runs
	@$(RUN) -m tools.results

.PHONY: lock
lock: $(READY) ## resolve pyproject.toml to requirements.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
		--all-extras pyproject.toml --output-file requirements.lock

.PHONY: clean
clean: ## delete .venv and caches; keeps data/ and outputs/
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
