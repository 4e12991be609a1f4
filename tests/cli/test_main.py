"""Exit codes and the one line that says what is wrong."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gumnet.cli import main as program
from gumnet.cli.main import COMMANDS, build, main
from gumnet.cli.wrong_call import SAME_AS, options
from gumnet.errors import InputError


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what went to standard error, having checked that it is one line and no traceback."""
    text = capsys.readouterr().err
    assert text.startswith("gumnet: error: ")
    assert text.count("\n") == 1
    return text


def test_help_is_quick_and_does_not_import_torch() -> None:
    code = "import sys; from gumnet.cli.main import main; main(['--help']); sys.exit('torch' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 2, "CPU seconds, whatever else the machine does: measured 0.6 on a busy one"
    for command in COMMANDS:
        assert command in done.stdout


@pytest.mark.parametrize(("name", "spins"), [("", "1000"), ("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", None)])
def test_threads_that_wait_soon_sleep_unless_told_otherwise(
    name: str, spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(each, "7")  # so that it is put back
        if each != name:
            monkeypatch.delenv(each)
    assert main(["--version"]) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_the_compiler_of_torch_is_not_loaded_for_a_table(tmp_path: Path) -> None:
    """It takes as long as all the rest of a short command, and comes with some versions of roma."""
    (tmp_path / "p.star").write_text("data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 3\n")
    call = ["convert", str(tmp_path / "p.star"), str(tmp_path / "p.tbl")]
    code = (
        f"import sys; from gumnet.cli.main import main; assert main({call}) == 0; "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


WITHIN = {"benchmark": ("accuracy", "averaging", "speed")}
"""Commands that have commands of their own."""


@pytest.mark.parametrize(
    "command", [[name, *more] for name in COMMANDS for more in [[each] for each in WITHIN.get(name, ())] or [[]]]
)
def test_help_of_each_command_shows_an_example_and_the_common_options(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"gumnet {' '.join(command)}" in text.split("Example", 1)[1]
    for option in ("--device", "--seed", "--threads", "--verbose"):
        assert option in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["fsc"], "error: MAP1 is missing. See: gumnet fsc --help"),
        (["convert", "a.star"], "error: OUT is missing."),
        (["average", "a.star"], "error: --out is missing."),
        (["benchmark", "accuracy"], "--out is missing. See: gumnet benchmark accuracy --help"),
        (["align", "a.star", "-o", "b.star"], "Unknown option: -o. Here it is --out."),
        (["average", "a.star", "--out", "b", "--angpix", "3"], "Unknown option: --angpix. Here it is --voxel-size."),
        (["average", "a.star", "--out", "b", "--ref", "m.mrc"], "Here it is --initial."),
        (["align", "a.star", "--out", "b", "--j", "3"], "Here it is --threads."),
        (["average", "--i", "a.star", "--out", "b"], "Here the particle table goes first, without a name."),
        (["convert", "a.star", "--tilt-range", "-60", "60"], "error: OUT is missing."),
        (["average", "a.star", "--out"], "--out requires an argument"),
        (["fsc", "a.mrc", "b.mrc", "--colour", "red"], "--colour"),
        (["fsc", "a.mrc", "b.mrc", "c.mrc"], "c.mrc"),
        (["simulate", "--out", "x", "--pairs", "many"], "--pairs"),
        (["simulate", "--out", "x", "--pairs", "1", "--noise", "pink"], "coloured"),
        (["align", "p.star", "--reference", "m.mrc", "--out", "o.star", "--method", "magic"], "exhaustive"),
    ],
)
def test_a_wrong_call_is_one_line_that_points_to_help(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    line = error_line(capsys)
    assert words in line
    assert "--help" in line


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command that starts fail with ``error``."""

    def start(_: object) -> None:
        raise error

    monkeypatch.setattr("gumnet.cli.options.Common.start", start)


def test_input_error_exits_with_2_and_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(InputError("has no voxel size", cure="give --voxel-size", path="a.mrc"), monkeypatch)
    assert main(["fsc", "a.mrc", "b.mrc"]) == 2
    assert error_line(capsys) == "gumnet: error: a.mrc: has no voxel size; give --voxel-size\n"


def test_unexpected_error_exits_with_1_and_says_how_to_see_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(RuntimeError("out of\nmemory"), monkeypatch)
    assert main(["fsc", "a.mrc", "b.mrc"]) == 1
    assert error_line(capsys) == "gumnet: error: RuntimeError: out of memory; run again with -v for details\n"
    assert main(["fsc", "a.mrc", "b.mrc", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(KeyboardInterrupt(), monkeypatch)
    assert main(["fsc", "a.mrc", "b.mrc"]) == program.INTERRUPTED == 130
    assert error_line(capsys) == "gumnet: error: interrupted\n"


@pytest.mark.parametrize(
    ("command", "goes_on"),
    [
        (["average", "p.star", "--out", "a"], True),
        (["align", "p.star", "--out", "a.star", "--reference", "m.mrc"], True),
        (["align", "p.star", "--out", "a.star", "--pairs", "pairs.csv"], False),
        (["benchmark", "accuracy", "--out", "a"], True),
        (["convert", "a.star", "b.tbl"], False),
    ],
)
def test_an_interrupt_says_how_to_go_on_where_one_can(
    command: list[str], goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyboardInterrupt(), monkeypatch)
    assert main(command) == program.INTERRUPTED
    assert ("--resume" in error_line(capsys)) is goes_on


def test_what_an_option_of_relion_is_here_exists() -> None:
    app = build()
    everywhere = {name for command in ("align", "average", "cluster", "sharpen") for name in options(app, (command,))}
    for options_here in SAME_AS.values():
        assert [name for name in options_here if " " not in name and name not in everywhere] == []
