PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt

# The lowest versions that are supported. torch stays the pinned build, unless TORCH=2.11.0 asks for another.
LOWEST := .venv-lowest
TORCH ?= $(shell sed -n 's/^torch==//p' constraints.txt)
LOWEST_PIP := $(LOWEST)/bin/pip --disable-pip-version-check install --quiet --constraint constraints-lowest.txt
# What transformers 4.57 and peft 0.19 lack is in docs/versions.md; what tests it is left out there.
LOWEST_TESTS := $(addprefix tests/,attention batch callbacks compat data logprobs losses policy reference training \
	test_module.py)
LOWEST_WITHOUT := $(addprefix --deselect=tests/policy/,test_sharding.py \
	test_coverage.py::test_experts_as_target_parameters_are_covered \
	test_coverage.py::test_experts_of_which_some_weights_are_covered_are_not_none \
	test_coverage.py::test_what_peft_would_pass_over_is_refused \
	test_experts.py::test_it_is_the_models_own_over_a_packed_row_and_the_same_in_padded_rows[granitemoe] \
	test_experts.py::test_it_is_the_models_own_over_a_packed_row_and_the_same_in_padded_rows[olmoe] \
	test_experts.py::test_routers_without_an_auxiliary_loss_are_watched \
	test_initialisation.py::test_most_leave_the_base_alone[mica] \
	test_loading.py::TestLoading::test_of_broken_files_is_one_line \
	test_lora_fields.py::test_a_setting_is_trained_resumed_loaded_and_exported[experts] \
	test_modality.py::test_a_hybrid_model_passes_and_can_be_copied_after_it[granitemoehybrid] \
	test_sampling.py::test_prompts_of_several_lengths_at_once_are_greedy_ones_alone[MPT] \
	test_sampling.py::test_prompts_of_several_lengths_at_once_are_greedy_ones_alone[DeepSeek-V3] \
	test_sampling.py::test_prompts_of_several_lengths_at_once_are_greedy_ones_alone[Qwen3.5] \
	test_sampling.py::test_prompts_of_several_lengths_at_once_are_greedy_ones_alone[RecurrentGemma] \
	test_prepare.py::TestFloat32Buffers::test_do_not_break_a_forward[recurrent_gemma]) \
	--deselect=tests/data/tokenize/test_encoding.py::test_real_tokenizers_at_every_boundary

.PHONY: quickstart test test-lowest quick lint docs gpu clean

quickstart: $(VENV)/.run
	$(BIN)/dpo-lightning fit --config configs/quickstart.yaml

# Three workers on two cores: many tests wait for processes of their own.
test: $(VENV)/.test
	$(BIN)/pytest --numprocesses 3 --dist worksteal

# Under a minute on two quiet cores: two thirds of the tests, without those that tests/slow.py names. `test` runs them all.
quick: $(VENV)/.test
	$(BIN)/pytest --numprocesses 3 --dist worksteal -m "not slow"

# What meets other libraries, with their lowest versions; OPTIONS='-m "not slow"' runs a part.
test-lowest: $(LOWEST)/.test
	$(LOWEST)/bin/pytest --numprocesses 3 --dist worksteal $(OPTIONS) $(LOWEST_WITHOUT) $(LOWEST_TESTS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, into site/: a broken link, a page without a place in the nav or a wrong docstring ends it. No network.
docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# On a machine with a GPU, with a Python whose torch has CUDA: the rows of one call, and the tables of docs/performance.md.
# The same call again adds rows; OPTIONS='--budget-s 900' gives it more time.
gpu:
	PYTHONPATH=.:$$PYTHONPATH $(PYTHON) -m benchmarks.gpu $(OPTIONS)
	PYTHONPATH=.:$$PYTHONPATH $(PYTHON) -m tools.docs.performance

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone: only the exact pin finds a CPU build where one is offered.
$(VENV)/.torch: $(BIN)/python constraints.txt
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.run: $(VENV)/.torch setup.cfg
	$(PIP) --editable ".[plot]"
	touch $@

$(VENV)/.test: $(VENV)/.torch setup.cfg
	$(PIP) --editable ".[dev]"
	touch $@ $(VENV)/.run

$(LOWEST)/.test: constraints-lowest.txt setup.cfg
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST_PIP) torch==$(TORCH)
	$(LOWEST_PIP) torch==$(TORCH) --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) runs site
