"""What a sweep keeps of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_lightning.cli.sweeps.axes import Axis
from dpo_lightning.cli.sweeps.checked import Checked
from dpo_lightning.cli.sweeps.kept import FINISHED, RUNNING, Kept, alone_in, beside
from dpo_lightning.cli.sweeps.plan import Planned
from dpo_lightning.errors import InputError

AXES = [Axis("beta", ("1", "2"))]


def run(name: str) -> Planned:
    """A run."""
    return Planned(name, {"beta": name}, Checked(("--config=run.yaml",), {"name": name}, {}, goes_on=True))


def sweep(directory: Path, *names: str, **settings: object) -> Kept:
    """A sweep with these runs."""
    kept = Kept(directory)
    kept.take([run(name) for name in names], AXES, settings)
    kept.write()
    return kept


def test_what_is_known_of_runs_stays_and_more_values_are_new_runs(tmp_path: Path) -> None:
    sweep(tmp_path, "a", "b", lr=1).note("a", status=FINISHED)
    more = sweep(tmp_path, "a", "c", lr=1)
    assert {name: each["status"] for name, each in more.runs.items()} == {"a": FINISHED, "b": "waiting", "c": "waiting"}
    assert [*more.begun()] == ["a"]
    more.note("c", status=RUNNING)
    assert [*Kept(tmp_path).begun()] == ["a", "c"]


def test_other_settings_and_other_axes_are_refused_by_name(tmp_path: Path) -> None:
    sweep(tmp_path, "a", lr=1, size=2)
    written = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(InputError) as refused:
        sweep(tmp_path, "b", lr=3, depth=4)
    assert str(refused.value) == (
        f"sweep --out {tmp_path}: its runs were made with other settings (lr 1, not 3; size 2, not left out; "
        "depth left out, not 4): give another --out"
    )
    with pytest.raises(InputError, match="there is a sweep over beta, not over lr, beta"):
        Kept(tmp_path).check_axes([Axis("lr", ("1",)), *AXES])
    Kept(tmp_path).check_axes(AXES)
    Kept(tmp_path / "new").check_axes([])
    assert (tmp_path / "sweep.json").read_bytes() == written


def test_a_directory_that_is_no_run_of_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="a is there, and no run of this sweep"):
        sweep(tmp_path, "a")
    assert not (tmp_path / "sweep.json").exists()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"axes": [], "settings": {}, "runs": [{"name": "a"}]}'])
def test_a_file_that_is_none_of_a_sweep_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(InputError, match=r"sweep\.json: "):
        Kept(tmp_path)


def test_what_begins_anew_is_set_aside(tmp_path: Path) -> None:
    kept = sweep(tmp_path, "a")
    for number in (1, 2):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "left").write_text(str(number))
        assert kept.set_aside("a") == tmp_path / "earlier" / f"a-{number}"
        assert (tmp_path / "earlier" / f"a-{number}" / "left").read_text() == str(number)
    assert beside(tmp_path, "a", "txt") == tmp_path / "outputs" / "a.txt"


def test_two_sweeps_do_not_share_a_directory(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with alone_in(out), pytest.raises(InputError, match="another process is writing it"), alone_in(out):
        pass
    assert not out.parent.exists()  # nothing had begun
    with alone_in(out):
        (out / "kept").touch()
    assert [path.name for path in out.iterdir()] == ["kept"]
    with pytest.raises(InputError, match="kept is a file"), alone_in(out / "kept"):
        pass
