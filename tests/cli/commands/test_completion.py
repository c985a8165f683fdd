"""TAB in a real shell."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpo_lightning.cli.commands.completion import DIRECTORY, completion
from dpo_lightning.cli.parsers.completion import SHELLS

_PATIENCE = 20  # seconds for an answer of the shell


class Shell:
    """An interactive bash in a pseudo-terminal, without the user's settings."""

    def __init__(self, directory: Path) -> None:
        self.terminal, child = pty.openpty()
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            stdin=child,
            stdout=child,
            stderr=child,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "$ ", "HOME": str(directory)},
            start_new_session=True,
        )
        os.close(child)
        self.answer(
            "bind 'set bell-style none'; bind 'set completion-query-items 0'; bind 'set page-completions off'\n"
        )
        self.answer(f"source {DIRECTORY / 'bash'}\n")

    def answer(self, typed: str) -> str:
        """Type, and return what is shown until the shell is silent."""
        os.write(self.terminal, typed.encode())
        seen, end = "", time.monotonic() + _PATIENCE
        while time.monotonic() < end and select.select([self.terminal], [], [], 1.5 if seen else _PATIENCE)[0]:
            seen += os.read(self.terminal, 65536).decode(errors="replace")
        return seen

    def completed(self, typed: str) -> str:
        """Return the line after TAB; the line is thrown away."""
        seen = self.answer(f"{typed}\t")
        self.answer("\x15\n")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\x07", "", seen)

    def end(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        os.close(self.terminal)


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    directory = tmp_path_factory.mktemp("shell")
    (directory / "my_pairs.jsonl").touch()
    shell = Shell(directory)
    yield shell
    shell.end()


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("dpo-lightning val", "dpo-lightning validate "),
        ("dpo-lightning fit --data.max_l", "dpo-lightning fit --data.max_length "),
        ("dpo-lightning fit --model.objective=SimPE", "dpo-lightning fit --model.objective=SimPER "),
        ("dpo-lightning fit --model.objective SimPE", "dpo-lightning fit --model.objective SimPER "),
        ("dpo-lightning fit --trainer.callbacks=SampleT", "dpo-lightning fit --trainer.callbacks=SampleTable "),
        ("dpo-lightning fit --data.dataset=my_p", "dpo-lightning fit --data.dataset=my_pairs.jsonl "),
        ("dpo-lightning fit --config=a.yaml --data.lay", "dpo-lightning fit --config=a.yaml --data.layout "),
        ("dpo-lightning export --mer", "dpo-lightning export --merged "),
        ("dpo-lightning cache pr", "dpo-lightning cache prune "),
        ("dpo-lightning inspect --data.max_prom", "dpo-lightning inspect --data.max_prompt_length "),
    ],
)
def test_tab_completes(bash: Shell, typed: str, becomes: str) -> None:
    assert becomes in bash.completed(typed)


def test_the_scripts_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in SHELLS:
        completion([shell])
        assert capsys.readouterr().out == (DIRECTORY / shell).read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_script_parses_in_its_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    done = subprocess.run([shell, "-n", DIRECTORY / shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_values_of_zsh_may_stand_behind_an_equals_sign() -> None:
    script = (DIRECTORY / "zsh").read_text(encoding="utf-8")
    assert '"--model.objective=[' in script
    assert '"--merged[' in script


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        completion(["csh"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: argument shell: invalid choice: 'csh'")
