"""The command, as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.data import DataLoader

from dpo_lightning.cli.commands import COMMANDS
from dpo_lightning.cli.main import cause_in_a_line, main, print_without_secrets
from dpo_lightning.errors import InputError
from tests.helpers.ranks import run_command, succeed
from tests.helpers.runs import rows, saved_model, write_rows


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a model, pairs and a config, and the working directory inside it."""
    config = {
        "model": {
            "policy": saved_model(tmp_path / "model"),
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        },
        "data": {
            "dataset": write_rows(tmp_path / "pairs.jsonl"),
            "val_split": "train[:8]",
            "batch_pairs": 4,
        },
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 4,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "runs"}},
            "callbacks": [
                {
                    "class_path": "ModelCheckpoint",
                    "init_args": {"dirpath": "checkpoints", "every_n_train_steps": 2, "save_last": True},
                }
            ],
        },
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dpo-lightning"])
    return tmp_path


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """Run a command that must fail; its exit code and the last line that it prints."""
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main(list(args))
    assert sorted(Path().rglob("*")) == before, "a failed command wrote something"
    if isinstance(stopped.value.code, str):  # the interpreter prints it and exits 1
        return 1, stopped.value.code
    return stopped.value.code, capsys.readouterr().err.strip().splitlines()[-1]


def test_fit_resume_validate_test_and_predict(project):
    assert main(["fit", "--config", "run.yaml", "--model.objective=DPO", "--model.objective.beta=0.05"]) is None
    saved = yaml.safe_load((project / "runs/lightning_logs/version_0/config.yaml").read_text())
    assert saved["model"]["init_args"]["objective"]["init_args"]["beta"] == 0.05

    checkpoint = torch.load("checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    for command in ("validate", "test", "predict"):
        main([command, "--config", "run.yaml", "--ckpt_path", "checkpoints/last.ckpt", "--trainer.callbacks=null"])
    rewards = [json.loads(line) for line in next(project.glob("runs/**/rewards.jsonl")).read_text().splitlines()]
    assert [row["pair_id"] for row in rewards] == list(range(8))
    assert all(row["margin"] == pytest.approx(row["chosen"] - row["rejected"], abs=1e-5) for row in rewards)
    # the config of the fit is still there, and no other command left one
    assert [path.parts[-2] for path in project.glob("runs/**/config.yaml")] == ["version_0"]


@pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning")
def test_what_the_command_line_asks_for_is_what_runs(project, capsys):
    main(["fit", "--config", "run.yaml", "--model.objective=DPO", "--model.objective.beta=0.05"])
    checkpoint = ["--config", "run.yaml", "--ckpt_path=checkpoints/last.ckpt"]

    def validated(*words):
        capsys.readouterr()
        main(["validate", *checkpoint, "--trainer.callbacks=null", *words])
        return re.search(r"val/loss\s+[│|]\s+(\S+)", capsys.readouterr().out)[1]

    assert validated() == validated("--model.objective.beta=0.05") != validated("--model.objective.beta=5.0")
    assert validated("--model.objective=IPO") != validated()

    resume = ["fit", *checkpoint, "--trainer.max_steps=6", "--model.optimizer.init_args.lr=0.002"]
    with pytest.raises(
        SystemExit, match=r"error: the checkpoint's run had objective.beta 0.05, and this run asks for 0.1"
    ):
        main(resume)
    main([*resume, "--model.resume=changed"])
    saved = torch.load("checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 6
    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] == 0.002
    assert "resume" not in saved["hyper_parameters"]


def test_flags_win_over_the_settings_in_a_checkpoint(project):
    main(["fit", "--config", "run.yaml", "--model.objective=DPO", "--model.objective.beta=0.05"])
    resume = ["--ckpt_path", "checkpoints/last.ckpt", "--trainer.max_steps=5"]
    asked = ["--model.objective=DPO", "--model.objective.beta=0.5", "--model.resume=changed"]
    main(["fit", "--config", "run.yaml", *resume, *asked])
    saved = torch.load("checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 5
    config = yaml.safe_load(max(project.glob("runs/**/config.yaml")).read_text())
    assert config["model"]["init_args"]["objective"]["init_args"]["beta"] == 0.5


def test_an_evaluation_takes_the_policy_of_its_checkpoint(project, capsys):
    main(["fit", "--config", "run.yaml", "--model.objective=DPO", "--model.objective.beta=0.5"])
    config = yaml.safe_load((project / "run.yaml").read_text())
    del config["model"], config["trainer"]["callbacks"]
    (project / "data.yaml").write_text(yaml.safe_dump(config))
    (project / "all.yaml").write_text(yaml.safe_dump({**config, "ckpt_path": "checkpoints/last.ckpt"}))
    named = ["--config=data.yaml", "--ckpt_path=checkpoints/last.ckpt"]

    def validated(*words):
        capsys.readouterr()
        main(["validate", *words])
        return re.search(r"val/loss\s+[│|]\s+(\S+)", capsys.readouterr().out)[1]

    asked = validated(*named, "--model.policy=model", "--model.objective=DPO", "--model.objective.beta=0.5")
    assert asked == validated(*named) == validated("--config", "all.yaml")
    assert asked != validated(*named, "--model.objective.beta=5.0")
    assert validated(*named, "--model.objective=SimPO") == validated(*named, "--model.objective.class_path=SimPO")
    for command in ("test", "predict"):
        main([command, *named, "--data.test_split=train[:8]"])

    saved = torch.load("checkpoints/last.ckpt", weights_only=True)
    saved["hyper_parameters"]["model_kwargs"] = {"trust_remote_code": True}
    torch.save(saved, "code.ckpt")
    code, line = fails(capsys, "validate", "--config=data.yaml", "--ckpt_path=code.ckpt")
    assert (code, "trust_remote_code: True of" in line) == (1, True)
    saved["hyper_parameters"]["policy"] = "{class_path: os.system, init_args: {command: touch ran}}"
    torch.save(saved, "code.ckpt")
    code, line = fails(capsys, "validate", "--config=data.yaml", "--ckpt_path=code.ckpt")
    assert (code, "would be imported or read as a file: name it as --model.policy" in line) == (1, True)


@pytest.mark.filterwarnings("ignore:.*there is no last checkpoint available:UserWarning")
def test_out_of_memory_is_one_line_and_the_run_goes_on(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project))
    (project / "large.py").write_text(
        "import torch\n"
        "from dpo_lightning import PreferenceModule\n"
        "class Large(PreferenceModule):\n"
        "    def pair_losses(self, batch, scores):\n"
        "        if self.training and self.global_step == 3 and not self.trainer.ckpt_path:\n"
        "            raise torch.OutOfMemoryError('tried to allocate 3 GiB')\n"
        "        return super().pair_losses(batch, scores)\n"
    )
    saving = {"class_path": "ResumableCheckpoint", "init_args": {"dirpath": "saved", "every_n_train_steps": 100}}
    words = ["--config", "run.yaml", "--model=large.Large", f"--trainer.callbacks=[{json.dumps(saving)}]"]
    words += ["--model.policy=model", "--ckpt_path=last"]
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *words])
    assert str(stopped.value.code).startswith("error: out of memory: lower data.batch_tokens")
    assert str(stopped.value.code).endswith("(tried to allocate 3 GiB)")
    assert [path.name for path in Path("saved").iterdir()] == ["step=3.ckpt"]
    main(["fit", *words])
    assert sorted(path.name for path in Path("saved").iterdir()) == ["step=3.ckpt", "step=4.ckpt"]


def test_a_subclass_is_chosen_by_its_path(project):
    (project / "research.py").write_text(
        "from dpo_lightning import PreferenceModule\n"
        "class Mine(PreferenceModule):\n"
        "    def __init__(self, *args, extra: float = 0.0, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n"
        "        self.extra = extra\n"
        "    def pair_losses(self, batch, scores):\n"
        "        return super().pair_losses(batch, scores) + self.extra\n"
    )
    sys.path.insert(0, str(project))
    try:
        main(["fit", "--config", "run.yaml", "--model=research.Mine", "--model.extra=7.0", "--trainer.max_steps=1"])
    finally:
        sys.path.remove(str(project))
    logged = (project / "runs/lightning_logs/version_0/metrics.csv").read_text().splitlines()
    column = logged[0].split(",").index("train/loss")
    assert float(logged[1].split(",")[column]) == pytest.approx(7.6931, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--model.objectiv=DPO"], "unknown key `model.objectiv`; did you mean `objective`?"),
        (["--model.objective=DPO", "--model.objective.bta=1"], "`model.objective.bta`; did you mean `beta`?"),
        (["--model.objective=DPPO"], "model.objective: no class DPPO; did you mean `DPO`?"),
        (["--model.reference=some/path"], "write {class_path: FrozenCopy, init_args: {checkpoint: some/path}}"),
        (["--data.max_lenght=3"], "unknown key `data.max_lenght`; did you mean `max_length`?"),
        (["--trainer.max_step=3"], "unknown key `trainer.max_step`; did you mean `trainer.max_steps`?"),
        (["--model.lora.rank=3"], "unknown key `model.lora.rank`; its keys are r, alpha"),
        (["--model.objective=DPO", "--model.objective.beta=much"], "model.objective.beta: expected a number, got much"),
        (["--model.objective=KTO", "--model.objective.gamma=1"], "`model.objective.gamma`; its keys are beta, desir"),
        (["--model.objective=WPO", "--model.objective.objective=KT"], "model.objective.objective: no class KT;"),
        (["--config", "nowhere.yaml"], "config: File does not exist: "),
    ],
)
def test_a_wrong_key_is_answered_with_the_right_one(project, capsys, arguments, line):
    code, message = fails(capsys, "fit", "--config", "run.yaml", *arguments)
    assert code == 2
    assert line in message


@pytest.mark.parametrize(
    ("name", "setting", "line"),
    [
        ("DPO", "beta=0", "DPO.beta must be a finite number greater than 0, got 0.0"),
        ("KTO", "beta=0", "KTO.beta must be a finite number greater than 0, got 0.0"),
        ("UnpairedBCO", "momentum=1", "UnpairedBCO.momentum must be in [0, 1), got 1.0"),
    ],
)
def test_a_setting_out_of_its_range_is_one_line(project, capsys, name, setting, line):
    arguments = f"--model.objective={name}", f"--model.objective.{setting}"
    assert fails(capsys, "fit", "--config", "run.yaml", *arguments) == (1, f"error: model.objective: {line}")


def test_a_misspelt_key_in_a_file_is_refused(project, capsys):
    text = (project / "run.yaml").read_text()
    (project / "run.yaml").write_text(text.replace("batch_pairs", "batchpairs"))
    code, message = fails(capsys, "fit", "--config", "run.yaml")
    assert (code, message) == (2, "error: unknown key `data.batchpairs`; did you mean `batch_pairs`?")


def bad_rows(path: Path, change: object) -> None:
    """Rewrite the pairs with one of them changed."""
    pairs = rows(4)
    if isinstance(change, str):
        path.write_text("".join(json.dumps(row) + "\n" for row in pairs[:2]) + change)
    else:
        path.write_text(
            "".join(json.dumps({**row, **(change if i == 2 else {})}) + "\n" for i, row in enumerate(pairs))
        )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"chosen": None}, r"pairs.jsonl.*row 2.*field `chosen`: null"),
        ({"chosen": 5}, r"pairs.jsonl.*row 2.*`chosen`: int, not text"),
        ('{"prompt": "a", "chosen": ', r"pairs.jsonl: line 3: malformed JSON"),
        ("", None),
    ],
    ids=["null", "number", "malformed", "good"],
)
def test_bad_rows(project, capsys, change, line):
    bad_rows(project / "pairs.jsonl", change)
    settings = ["fit", "--config", "run.yaml", "--data.val_split=null"]
    if line is None:
        main(settings)
        return
    code, message = fails(capsys, *settings)
    assert code == 1
    assert re.search(line, message), message
    assert "\n" not in message


def refused(examples: list[int]) -> None:
    raise InputError(f"data.dataset: row {examples[0]}: nothing: leave it out")


def refused_while_another_is_handled(examples: list[int]) -> None:
    try:
        raise ValueError("\ndpo_lightning.errors.InputError: before")
    except ValueError:
        refused(examples)


@pytest.mark.parametrize("collate", [refused, refused_while_another_is_handled])
@pytest.mark.parametrize("processes", [0, 1])
def test_an_error_in_a_loaders_process_is_its_line(project, capsys, monkeypatch, collate, processes):
    loader = DataLoader([7], num_workers=processes, collate_fn=collate)
    monkeypatch.setitem(COMMANDS, "load", lambda words: list(loader))
    assert fails(capsys, "load") == (1, "error: data.dataset: row 7: nothing: leave it out")


def test_an_empty_file(project, capsys):
    (project / "pairs.jsonl").write_text("")
    code, message = fails(capsys, "fit", "--config", "run.yaml")
    assert code == 1
    assert "pairs.jsonl: the file is empty" in message


def test_a_missing_column(project, capsys):
    code, message = fails(capsys, "fit", "--config", "run.yaml", "--data.format.chosen=good")
    assert code == 1
    assert "no column `good`; the columns are `prompt`, `chosen`, `rejected`" in message


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        (
            {"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]},
            "a completion begins with an assistant message",
        ),
        (
            {"chosen": [{"role": "narrator", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]},
            "role 'narrator' is none of",
        ),
        (
            {"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]},
            "has no chat template: give one in `data.chat_template`",
        ),
    ],
    ids=["wrong order", "unknown role", "no template"],
)
def test_bad_messages(project, capsys, pair, line):
    row = {"prompt": [{"role": "user", "content": "hello"}], **pair}
    (project / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    code, message = fails(capsys, "fit", "--config", "run.yaml", "--data.val_split=null")
    assert code == 1
    assert line in message
    assert "row 0" in message


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--model.policy=./nowhere"], "model.policy: no such directory: ./nowhere"),
        (
            ["--model.objective=DPO", "--model.objective.beta=0"],
            "DPO.beta must be a finite number greater than 0, got 0",
        ),
        (["--model.objective=SFT", "--model.reference=FrozenCopy"], "SFT has no reference: leave `reference` out"),
        (["--data.dataset=nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--data.val_split=tset"], "tset"),
    ],
)
def test_bad_settings(project, capsys, arguments, line):
    code, message = fails(capsys, "fit", "--config", "run.yaml", *arguments)
    assert code == 1
    assert line in message
    assert "\n" not in message


def test_a_tokenizer_without_eos(project, capsys):
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = project / "model" / name
        if path.exists():
            settings = json.loads(path.read_text())
            settings.pop("eos_token", None)
            path.write_text(json.dumps(settings))
    code, message = fails(capsys, "fit", "--config", "run.yaml")
    assert code == 1
    assert "has no EOS token" in message


def test_the_process_exits_0_on_success_and_1_with_one_line_on_wrong_input(project):
    words = ["fit", "--config", "run.yaml"]
    command = [sys.executable, "-m", "dpo_lightning", *words, "--model.objective=DPO", "--model.objective.beta=-1"]
    line = "DPO.beta must be a finite number greater than 0, got -1.0"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as bad:  # beside the other one
        succeed(run_command([*words, "--trainer.max_steps=1"], Path.cwd()), Path.cwd())
        _, said = bad.communicate(timeout=200)
    assert bad.returncode == 1
    assert said.strip().splitlines()[-1] == f"error: model.objective: {line}"
    assert "Traceback" not in said


def test_help_does_not_load_models(project):
    script = (
        "import sys\nfrom dpo_lightning.cli.main import main\n"
        "try:\n    main(['fit', '--help'])\nexcept SystemExit as stopped:\n    assert stopped.code in (0, None)\n"
        "heavy = {'transformers.modeling_utils', 'peft', 'datasets', 'trl'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--model" in done.stdout


def test_a_traceback_holds_no_secret(capsys):
    try:
        raise KeyError("https://me:hunter2@example.org/x?token=hunter2 hf_abcdefghijklmnopqrstuvwxyz \x1b[31m")
    except KeyError as error:
        print_without_secrets(type(error), error, error.__traceback__)
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert "KeyError: 'https://***@example.org/x?token=***" in said
    assert not [each for each in ("hunter2", "hf_abc", "\x1b") if each in said]


def test_what_wandb_refuses_is_one_line() -> None:
    error = type("UsageError", (Exception,), {"__module__": "wandb.errors.errors"})("No API key configured.\nUse login")
    assert cause_in_a_line(error) == (
        "WandbLogger: No API key configured. Use login: set WANDB_API_KEY, or offline: true"
    )
