"""Transformers' attention, checkpointing and sharding plans. Imported where they are used: loading it takes seconds."""

from __future__ import annotations

import datetime
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def attention_implementation(model: PreTrainedModel) -> str:
    """Return the name of the attention that the model uses.

    Touches `config._attn_implementation`: there is a public setter, `set_attn_implementation`, and no getter. Where it
    changes, the tree layout is refused or fails its self-test.
    """
    return model.config._attn_implementation


def own_attention(name: str, module: nn.Module) -> Callable[..., Any]:
    """Return the attention that transformers would call in a layer.

    Touches `eager_attention_forward`, a function in each model's own file, which transformers' layers take from there
    for the name `eager`; the other names are in `ALL_ATTENTION_FUNCTIONS`. Where it changes, eager models fail on their
    first batch.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if name == "eager":
        eager: Callable[..., Any] = vars(sys.modules[type(module).__module__])["eager_attention_forward"]
        return eager
    return ALL_ATTENTION_FUNCTIONS[name]


def attention_settings(model: nn.Module) -> list[tuple[Any, str]]:
    """Return the configs inside a model, the outer ones first, with the attention implementation of each.

    Touches `config._attn_implementation` as well: `set_attn_implementation` gives all parts of a model the same.
    """
    found = [getattr(module, "config", None) for module in model.modules()]
    configs: dict[int, Any] = {id(each): each for each in found if hasattr(each, "_attn_implementation")}
    return [(config, config._attn_implementation) for config in configs.values()]


def named_attentions(config: Any) -> list[str]:
    """Return the attention implementations that a config and those inside it name, which it may take from its file.

    Touches `config._attn_implementation` as well.
    """
    parts = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]
    return [name for part in parts if isinstance(name := getattr(part, "_attn_implementation", None), str)]


def restore_attention(settings: list[tuple[Any, str]]) -> None:
    """Give configs the attention implementations back that `attention_settings` has returned."""
    for config, implementation in settings:
        if config._attn_implementation != implementation:
            config._attn_implementation = implementation


def enable_checkpointing(model: nn.Module, contexts: Callable[[], Any] | None = None, *, offload: bool = False) -> bool:
    """Recompute the model's activations in the backward, and return whether the model does; False where it cannot.

    Calls `activation_checkpointing_enable`, and where a transformers before 5.21 has no such method,
    `gradient_checkpointing_enable`, which newer ones are about to drop.

    Args:
        model: A model of transformers, or a `PeftModel` around one.
        contexts: The `context_fn` of `torch.utils.checkpoint.checkpoint`, which says what is kept.
        offload: Keep the inputs of the layers in the host's memory, where `offloads` says that it can.
    """
    new: Callable[..., None] | None = getattr(model, "activation_checkpointing_enable", None)
    old: Callable[..., None] | None = getattr(model, "gradient_checkpointing_enable", None)
    if not getattr(model, "supports_gradient_checkpointing", True):
        return False
    settings = {"use_reentrant": False} | ({} if contexts is None else {"context_fn": contexts})
    offloaded = {"offload": True} if offload else {}
    if new is not None:
        new(activation_checkpointing_kwargs=settings, **offloaded)
        return bool(model.is_activation_checkpointing)
    if old is not None:
        old(gradient_checkpointing_kwargs=settings, **offloaded)
        return bool(model.is_gradient_checkpointing)
    return False


def offloads(model: nn.Module) -> bool:
    """Return whether transformers can keep the inputs of a model's layers in the host's memory: 5.23 can, 5.17 not."""
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
    enable = next((method for name in names if (method := getattr(model, name, None)) is not None), None)
    return enable is not None and "offload" in inspect.signature(enable).parameters


def own_mask(name: str) -> Callable[..., Any]:
    """Return the function that makes the mask of an attention, from a registry that is only public for writing."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    return ALL_MASK_ATTENTION_FUNCTIONS[name]


@contextmanager
def rows_of_one_sequence() -> Iterator[None]:
    """Inside the block, transformers takes each row for one sequence, without a look at the device.

    Replaces `masking_utils.find_packed_sequence_indices`, which asks the positions of each forward without a mask
    whether several sequences share a row, and has the host wait for the answer. Where it changes, the host waits again.
    """
    masks, name = sys.modules.get("transformers.masking_utils"), "find_packed_sequence_indices"
    asks = vars(masks).get(name) if masks is not None else None
    if asks is None:
        yield
        return
    setattr(masks, name, _one_sequence)
    try:
        yield
    finally:
        setattr(masks, name, asks)


def _one_sequence(position_ids: Tensor) -> None:
    """Answer as transformers does where no row has a second sequence."""


def unsplit_classes(model: nn.Module) -> set[str]:
    """Return the class names of the model's decoder layers, empty where it is no model of transformers.

    Touches `PreTrainedModel._no_split_modules`, which accelerate and Lightning's users read as well. Where it changes,
    FSDP gathers the whole model at once.
    """
    return set(getattr(model, "_no_split_modules", None) or ())


def keeps_a_state(model: nn.Module) -> bool:
    """Return whether layers of the model are recurrent, such as Mamba's.

    Touches `PreTrainedModel._is_stateful`, by which transformers' generation knows them. Where it changes, such layers
    may be compiled, which is right, and slow.
    """
    return any(getattr(module, "_is_stateful", False) for module in model.modules())


def tensor_plan(model: PreTrainedModel) -> dict[str, str] | None:
    """Return how the model's matrices are split, by the names of its modules; its `tp_plan` has patterns.

    Touches `PreTrainedModel._expand_parallel_plan`: transformers expands the plan itself only when it loads a model on
    all ranks. None where transformers is older than that, or has changed it: tensor parallel runs are refused.
    """
    expand: Callable[..., dict[str, str]] | None = getattr(model, "_expand_parallel_plan", None)
    return None if expand is None else expand(model.tp_plan)


def apply_tensor_plan(model: nn.Module, mesh: DeviceMesh, plan: Mapping[str, str]) -> None:
    """Split the modules of a plan over a mesh, in place.

    Calls `transformers.distributed.tensor_parallel.apply_tensor_parallelism`, which `from_pretrained` calls and no page
    documents. Where it changes, tensor parallel runs fail at the start.
    """
    from transformers.distributed.tensor_parallel import apply_tensor_parallelism

    apply_tensor_parallelism(model, mesh, plan)


def forget_ties(model: Any, names: set[str]) -> None:
    """Let a model take weights that it held in common for two.

    Writes `PreTrainedModel.all_tied_weights_keys`, which transformers makes of the config when it builds a model, and
    reads when it saves one. Before transformers 5 there is none: saving looks at the memory of the weights.

    Args:
        model: A model of transformers.
        names: Names of its parameters that are not tied to each other any more.
    """
    keys: dict[str, str] | None = getattr(model, "all_tied_weights_keys", None)
    if keys is not None:
        model.all_tied_weights_keys = {key: source for key, source in keys.items() if not {key, source} <= names}


def recorded_modules(model: nn.Module, output: str) -> list[tuple[nn.Module, int | None]]:
    """Return the modules whose output transformers records under a name, such as `router_logits`, in their order.

    Touches `PreTrainedModel._can_record_outputs`, from which a model's own forward collects what `output_router_logits`
    asks for. Where it changes, a mixture of experts is trained as one whose routers are not known, and says so.

    Returns:
        Each module with the place of the value in the tuple that it returns; None where it returns nothing else.
    """
    from transformers import PreTrainedModel

    found: dict[nn.Module, int | None] = {}
    for part in model.modules():
        recorders = (getattr(part, "_can_record_outputs", None) or {}) if isinstance(part, PreTrainedModel) else {}
        known = recorders.get(output, [])
        for recorder in known if isinstance(known, list) else [known]:
            kind: Any = getattr(recorder, "target_class", recorder)
            index = getattr(recorder, "index", None)
            found |= {module: index for module in part.modules() if isinstance(module, kind)}
    return [(module, found[module]) for module in model.modules() if module in found]


def template_fault(template: str) -> str | None:
    """Return what is wrong with the syntax of a chat template, in one line; None where it can be rendered.

    Touches `chat_template_utils._compile_jinja_template`, which knows the tags of transformers beside those of Jinja.
    Where it changes, a wrong template is refused by the first row of messages.
    """
    from jinja2 import TemplateSyntaxError
    from transformers.utils import chat_template_utils

    try:
        chat_template_utils._compile_jinja_template(template)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    return None


def generated_spans(
    template: str, messages: list[dict[str, Any]], tools: list[Any] | None, arguments: Mapping[str, Any]
) -> tuple[str, list[tuple[int, int]]]:
    """Return what a chat template writes, and the characters of it that it puts into `{% generation %}`.

    Touches `chat_template_utils.render_jinja_template`, which is public by its name and stands in no documentation.
    Tokenizers give a mask of their own tokens instead, and control tokens are quoted here.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    found: Any = render_jinja_template(
        conversations=[messages],
        tools=tools,
        chat_template=template,
        return_assistant_tokens_mask=True,
        **arguments,
    )
    (text,), (spans,) = found
    return text, [(start, end) for start, end in spans]


@contextmanager
def dated(templates: Sequence[str], date: datetime.date) -> Iterator[None]:
    """Let chat templates that ask for the time get the midnight of a date, while the context is open.

    Touches `chat_template_utils._compile_jinja_template`, which keeps the template that it has compiled, and its global
    `strftime_now`, the one way of a template to the clock. Where it changes, such a template cannot be filled in.
    """
    from transformers.utils import chat_template_utils

    midnight = datetime.datetime.combine(date, datetime.time())
    known = [chat_template_utils._compile_jinja_template(each).globals for each in templates]
    own = [each["strftime_now"] for each in known]
    for each in known:
        each["strftime_now"] = midnight.strftime
    try:
        yield
    finally:
        for each, clock in zip(known, own, strict=True):
            each["strftime_now"] = clock


def let_bars_go() -> None:
    """Take bars of loaded and saved weights away when they are full, and show none where there is no terminal.

    Uses `set_tqdm_hook` where transformers has it, from version 5; before, its bars stay as they are. The bars of
    downloads are huggingface_hub's, and stay.
    """
    from transformers.utils import logging

    def shown(make: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        return make(
            *args, **{**settings, "leave": False, "disable": settings.get("disable") or not sys.stderr.isatty()}
        )

    if hasattr(logging, "set_tqdm_hook"):
        logging.set_tqdm_hook(shown)
