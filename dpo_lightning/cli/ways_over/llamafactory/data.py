"""The data of a LLaMA-Factory config: entries of `dataset_info.json` as sources and formats of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from dpo_lightning.cli.ways_over.chat_jinja import chat_jinja
from dpo_lightning.cli.ways_over.draft import Draft
from dpo_lightning.cli.ways_over.llamafactory.reading import SETS
from dpo_lightning.cli.ways_over.tree import From, Tree, made
from dpo_lightning.data.formats.spelling import ROLES

_TAGS = {
    "user_tag": ("human", "user"),
    "assistant_tag": ("gpt", "assistant"),
    "observation_tag": ("observation", "tool"),
    "system_tag": ("system", "system"),
}
_SPELLED = {"role_tag": ("from", "role"), "content_tag": ("value", "content", "text")}
_MEDIA = ("images", "videos", "audios")
_CHATML = ("chatml", "qwen3_nothink")
_CUT = "longer rows are cut in prompt and completion by their shares there, and at the completion's end here"


def data(draft: Draft) -> None:
    """Write the data: one set as `data.dataset`, several, and those with a weight or a number, as `data.sources`."""
    given = draft.given
    names = [name.strip() for each in given["dataset"] for name in each.split(",")]
    weights = _weights(draft, names)
    sources = [_source(draft, name, weight) for name, weight in zip(names, weights, strict=True)]
    if len(sources) == 1 and not {"rows", "weight"} & sources[0].keys():
        for key, value in sources[0].items():
            draft.put(f"data.{'train_split' if key == 'split' else key}", value)
    else:
        draft.put("data.sources", sources)
    _held_out(draft, sources)
    _template(draft)
    draft.take("data.max_length", "cutoff_len")
    draft.differs("cutoff_len", _CUT)
    if given["preprocessing_num_workers"]:
        draft.take("data.num_proc", "preprocessing_num_workers")
    if given["streaming"]:
        draft.take("data.streaming", "streaming")
        draft.take("data.shuffle_buffer", "buffer_size")


def _weights(draft: Draft, names: list[str]) -> list[float | None]:
    """Return the share of each set where they are interleaved."""
    given = draft.given
    strategy, shares = given["mix_strategy"], given["interleave_probs"]
    if strategy == "concat" or len(names) == 1:
        return [None] * len(names)
    draft.differs("mix_strategy", "an epoch has as many rows as all sets together, in these shares")
    if shares is None:
        return [1.0] * len(names)
    found = [float(each) for each in (shares.split(",") if isinstance(shares, str) else shares)]
    if len(found) != len(names):
        draft.refuse("interleave_probs", f"{len(found)} shares of {len(names)} data sets: give one for each")
        return [1.0] * len(names)
    return [*found]


def _source(draft: Draft, name: str, weight: float | None) -> dict[str, Tree]:
    given, entry = draft.given, draft.given[SETS][name]
    said = f"dataset {name}"
    found: dict[str, Tree] = {"dataset": From(_place(draft, name, entry), said)}
    split, most = entry.get("split") or "train", given["max_samples"]
    if most is not None:
        found["split"] = From(f"{split}[:{most}]", given.because("max_samples"))
    elif split != "train":
        found["split"] = From(split, said)
    options = {"name": entry.get("subset"), "data_dir": entry.get("folder")}
    written: dict[str, Tree] = {key: From(value, said) for key, value in options.items() if value is not None}
    if written:
        found["load_options"] = written
    if weight is not None:
        found["weight"] = From(weight, given.because("interleave_probs"))
    if entry.get("num_samples") is not None:
        found["rows"] = From(entry["num_samples"], f"{said}: num_samples, drawn anew in each epoch here")
    found["format"] = _format(draft, name, entry)
    return found


def _place(draft: Draft, name: str, entry: Mapping[str, Any]) -> Any:
    for key in ("hf_hub_url", "file_name"):
        if entry.get(key):
            return entry[key]
    draft.refuse("dataset", f"{name} is on no hub of Hugging Face and in no file: download it, and give file_name")
    return None


def _format(draft: Draft, name: str, entry: Mapping[str, Any]) -> Tree:
    columns = entry.get("columns") or {}
    for media in _MEDIA:
        if columns.get(media):
            draft.refuse("dataset", f"{name} has {media}: text models are trained here, so leave it out")
    if columns.get("history"):
        draft.refuse("dataset", f"{name} has a column history of pairs of texts: write messages into its rows instead")
    found = _labelled(draft, name, entry) if draft.given["stage"] == "kto" else _ranked(draft, name, entry)
    settings: dict[str, Tree] = {
        key: From(value, "")
        for key, value in found[1].items()
        if value not in (None, _DEFAULTS.get(key)) or (key == "input" and found[0] == "AlpacaFormat")
    }
    if columns.get("system"):
        settings["system"] = From(columns["system"], "")
    return made(found[0], f"{name} in dataset_info.json", **settings)


_DEFAULTS = {"chosen": "chosen", "rejected": "rejected", "label": "label", "tools": "tools"}


def _ranked(draft: Draft, name: str, entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    columns, alpaca = entry.get("columns") or {}, entry.get("formatting", "alpaca") == "alpaca"
    if not entry.get("ranking"):
        draft.refuse("dataset", f"{name} has no `ranking: true`: LLaMA-Factory finds no pairs in it, so leave it out")
    for side in ("chosen", "rejected"):
        if not columns.get(side):
            draft.refuse("dataset", f"{name} names no column for {side}: give it in columns of dataset_info.json")
    sides = {side: columns.get(side) for side in ("chosen", "rejected")}
    if alpaca:
        return "AlpacaFormat", {**sides, **_alpaca(entry)}
    prompt = columns.get("messages") if columns else "conversations"
    tools = columns.get("tools")
    return "ShareGPTFormat", {"prompt": prompt, **sides, "tools": tools, "roles": _roles(draft, name, entry)}


def _alpaca(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return prompt and input: where columns are named, those that are not are none there."""
    columns = entry.get("columns")
    if not columns:
        return {}
    found = {"prompt": columns.get("prompt")}
    return found if columns.get("query") == "input" else {**found, "input": columns.get("query")}


def _labelled(draft: Draft, name: str, entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    columns = entry.get("columns") or {}
    if not columns.get("kto_tag"):
        draft.refuse("dataset", f"{name} names no column kto_tag: give it in columns of dataset_info.json")
    label = {"label": columns.get("kto_tag")}
    if entry.get("formatting", "alpaca") == "alpaca":
        prompt = {"prompt": columns.get("prompt"), "input": columns.get("query")}
        return "UnpairedFormat", {**prompt, "completion": columns.get("response"), **label, "as_messages": True}
    dialogue = {"completion": columns.get("messages"), **label}
    return "UnpairedFormat", {**dialogue, "roles": _roles(draft, name, entry)}


def _roles(draft: Draft, name: str, entry: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the names of roles that are not known here; those of keys must be."""
    tags = entry.get("tags") or {}
    for tag, known in _SPELLED.items():
        if tags.get(tag) not in (None, *known):
            draft.refuse("dataset", f"{name}: {tag} {tags[tag]} is none of {', '.join(known)}: rename it in the rows")
    found = {tags[tag]: role for tag, (_, role) in _TAGS.items() if tags.get(tag) and tags[tag].casefold() not in ROLES}
    return found or None


def _held_out(draft: Draft, sources: list[dict[str, Tree]]) -> None:
    given = draft.given
    size = given["val_size"]
    if given["eval_dataset"]:
        if size:
            draft.refuse("val_size", "eval_dataset is given as well, and LLaMA-Factory takes one of them")
        _set_of_its_own(draft)
    elif size and size < 1:
        draft.take("data.val_split", "val_size")
    elif size and (len(sources) > 1 or "rows" in sources[0] or "weight" in sources[0]):
        draft.refuse("val_size", "a number of rows of several sets: give a share below 1")
    elif size:
        most = given["max_samples"] or ""
        draft.put("data.val_split", From(f"train[:{int(size)}]", given.because("val_size")))
        draft.tree["data"].pop("train_split", None)
        draft.put("data.train_split", From(f"train[{int(size)}:{most}]", given.because("val_size")))


def _set_of_its_own(draft: Draft) -> None:
    given = draft.given
    found: dict[str, Tree] = {}
    names = [name.strip() for each in given["eval_dataset"] for name in each.split(",")]
    trained = given[SETS][given["dataset"][0].split(",")[0].strip()]
    for name in names:
        entry = given[SETS][name]
        if entry.get("columns") != trained.get("columns") or entry.get("tags") != trained.get("tags"):
            draft.refuse("eval_dataset", f"{name} has other columns than the training rows: rename them")
        elif entry.get("file_name") and PurePath(entry["file_name"]).suffix:
            found[name] = From(entry["file_name"], f"eval_dataset {name}")
        else:
            draft.refuse("eval_dataset", f"{name} is no file: download it, and give file_name")
    if found:
        draft.put("data.val_split", found if len(found) > 1 else next(iter(found.values())))


def _template(draft: Draft) -> None:
    given = draft.given
    name = given["template"]
    if name in _CHATML:
        draft.write_beside("data.chat_template", "chatml.jinja", chat_jinja("chatml", last_line=True), "template")
    elif name == "llama3":
        draft.write_beside("data.chat_template", "llama3.jinja", chat_jinja("llama3", last_line=False), "template")
    elif name is not None:
        draft.differs("template", given.fields["template"].said)
    if given.says("enable_thinking"):
        thinks = From(given["enable_thinking"], given.because("enable_thinking"))
        draft.put("data.chat_template_kwargs", {"enable_thinking": thinks})
