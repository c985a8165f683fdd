"""Stand-ins for what a shipped config names: a tiny model, and local rows with the columns of the real data sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml

from tests.helpers.runs import WORDS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
RECIPES = sorted(path.stem for path in (CONFIGS / "recipes").glob("*.yaml"))
ROWS = {"jondurbin/truthy-dpo-v0.1": 135}
"""Rows of a data set of which a part is held out; of others 128, which are two steps of the largest batch."""
TRAIN = (
    "train",
    "train_prefs",
    "llama_3.1_tulu_3_8b_preference_mixture_no_think",
    "tulu_3_8b_pref_mix_Qwen3_32B_Qwen3_0.6B_think",
)
"""Splits that recipes train on."""
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if enable_thinking %}<think>{% endif %}{% endif %}"
)
"""A chat template that ends a turn with EOS, and reads whether to think."""

Row = dict[str, Any]


def _texts(number: int) -> tuple[str, str, str]:
    return f"tell of {WORDS[number % 8]} {number}", f"gladly {'abcdefg'[number % 7]}", f"no {'hijkl'[number % 5]}!"


def dialogues(number: int) -> Row:
    """Anthropic's HH: two whole dialogues as text."""
    prompt, chosen, rejected = _texts(number)
    asked = f"\n\nHuman: {prompt}\n\nAssistant:"
    return {"chosen": f"{asked} {chosen}", "rejected": f"{asked} {rejected}"}


def messages(number: int) -> Row:
    """Dialogues of messages, with the prompt as text beside them, and where a row is from: Tulu 3's mix."""
    prompt, *answers = _texts(number)
    sides = {
        side: [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
        for side, text in zip(("chosen", "rejected"), answers, strict=True)
    }
    return {"id": f"row-{number}", "prompt": prompt, **sides, "source": "mix"}


def judged(number: int) -> Row:
    """UltraFeedback, binarized: a score of each side, and the chosen dialogue once more."""
    row = messages(number)
    scores = {"score_chosen": 6.0 + number % 4, "score_rejected": 5.0}
    pair = {name: row[name] for name in ("prompt", "chosen", "rejected")}
    return {"prompt_id": row["id"], **pair, "messages": row["chosen"], **scores}


def rated(number: int) -> Row:
    """OLMo 2's mix: models and ratings beside the dialogues."""
    models = {"chosen_model": "a", "rejected_model": "b", "chosen_rating": 5.0, "rejected_rating": 2.0}
    return {**messages(number), **models}


def sampled(number: int) -> Row:
    """SimPO's own data: all samples of a prompt and their scores beside the pair."""
    row = messages(number)
    texts = [row[side][-1]["content"] for side in ("chosen", "rejected")]
    samples = {"all_generated_responses": texts, "all_rm_scores": [0.3, 0.1]}
    return {"prompt_id": row["id"], **samples, **{name: row[name] for name in ("prompt", "chosen", "rejected")}}


def with_template_arguments(number: int) -> Row:
    """smoltalk2: each row says to the chat template whether to think."""
    row = messages(number)
    row.pop("id")
    said = {"custom_instructions": "", "enable_thinking": number % 2 == 0, "python_tools": [], "xml_tools": []}
    return {**row, "chat_template_kwargs": said}


def questions(number: int) -> Row:
    """truthy-dpo: texts, with a system prompt beside them."""
    prompt, chosen, rejected = _texts(number)
    pair = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    return {"id": f"row-{number}", "source": "truthy_dpo", "system": "You are helpful.", **pair}


DATA: dict[str, Callable[[int], Row]] = {
    "Anthropic/hh-rlhf": dialogues,
    "HuggingFaceH4/ultrafeedback_binarized": judged,
    "HuggingFaceTB/smoltalk2": with_template_arguments,
    "allenai/olmo-2-1124-7b-preference-mix": rated,
    "jondurbin/truthy-dpo-v0.1": questions,
    "princeton-nlp/llama3-ultrafeedback": sampled,
    "princeton-nlp/llama3-ultrafeedback-armorm": sampled,
}
"""What makes the rows of a data set; the mixes of Ai2 that are not here have `messages`."""


class Watch(pl.Callback):
    """Keeps what a run did: pairs and learning rate of its optimizer steps, the losses, and the module."""

    runs: list[Watch] = []  # noqa: RUF012 - the last one is the run's

    def __init__(self) -> None:
        self.pairs, self.rates, self.losses, self.sources = [0], [], [], set()  # type: ignore[var-annotated]
        self.ends: set[int] = set()
        Watch.runs.append(self)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.module, self.trainer = pl_module, trainer
        self.pairs[-1] += batch.examples
        self.ends |= {int(token) for token in batch.targets}
        self.sources |= set(batch.texts.get("data_source", ()))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.pairs.append(0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)


def local_config(path: Path, model: str, here: Path, steps: int) -> Path:
    """Write a config that trains `steps` optimizer steps on stand-ins, and is the shipped one in all else.

    Args:
        path: The shipped config.
        model: Directory of the model in its policy's place.
        here: Directory for the rows and the config.
        steps: Optimizer steps.
    """
    config = yaml.safe_load(path.read_text())
    config["model"]["policy"] = model
    config["model"].pop("model_kwargs", None)
    data, trainer = config["data"], config["trainer"]
    data.pop("tokenizer", None)
    for place in data.get("sources", [data]):
        if "rows" in place:
            place["rows"] = -(-place["rows"] // 1250)
        place["dataset"] = _local_rows(place["dataset"], here, place.get("rows"))
        place.pop("load_options", None)
    (here / "chat.jinja").write_text(TEMPLATE)
    data["chat_template"] = str(here / "chat.jinja")
    trainer.update(accelerator="cpu", devices=1, enable_progress_bar=False, enable_model_summary=False)
    trainer.pop("strategy", None)
    trainer["fast_dev_run"] = steps * trainer["accumulate_grad_batches"]
    for callback in trainer["callbacks"]:
        if callback["class_path"] == "SampleTable":
            callback["init_args"]["max_new_tokens"] = 4
    trainer["callbacks"].append({"class_path": "tests.helpers.recipes.Watch"})
    if "reference" in config["model"]:
        config["model"]["reference"]["init_args"] = {"cache_dir": str(here / "cache")}
    written = here / "run.yaml"
    written.write_text(yaml.safe_dump(config, sort_keys=False))
    return written


def _local_rows(name: str, here: Path, rows: int | None) -> dict[str, str]:
    """Write the rows of a data set, as many as are read of it, and name the file for each of the splits."""
    made = DATA.get(name, messages)

    def written(split: str, count: int) -> str:
        path = here / f"{name.replace('/', '+')[-60:]}-{split}.jsonl"
        path.write_text("".join(json.dumps(made(number)) + "\n" for number in range(count)))
        return str(path)

    train, held_out = written("train", rows or ROWS.get(name, 128)), written("held_out", 8)
    return {**dict.fromkeys(TRAIN, train), **dict.fromkeys(("test", "test_prefs"), held_out)}
