"""Completion as a shell does it: the script is read by a real bash, which is asked what comes next."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gumnet.cli.completion import script
from gumnet.cli.main import COMMANDS, build, main

BASH = shutil.which("bash")
# Words of a command line, the last of them the one that the Tab key is pressed in.
ASK = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gumnet; printf "%s\n" "${COMPREPLY[@]}"'


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if BASH is None:
        pytest.skip("bash is not installed")
    path = tmp_path_factory.mktemp("completion") / "gumnet"
    path.write_text(script(build(), "bash"), encoding="utf-8")
    return path


def offered(bash_script: Path, folder: Path, *words: str) -> set[str]:
    """Return what bash offers for the last word of a command line in a folder."""
    command = ["bash", "--norc", "-c", ASK, "bash", str(bash_script), "gumnet", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    assert done.stderr == ""
    return set(done.stdout.split("\n")) - {""}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], set(COMMANDS)),
        (["av"], {"average"}),
        (["average", "p.star", "--sta"], {"--start"}),
        (["average", "p.star", "--start", ""], {"auto", "halves", "together", "pairs", "blob"}),
        (["convert", "a.star", "b.tbl", "--to", "relion"], {"relion3.0", "relion3.1", "relion3", "relion4", "relion5"}),
        (["info", "part"], {"particles.star"}),
        (["align", "particles.star", "--reference", "m"], {"map.mrc"}),
    ],
)
def test_bash_offers_what_may_come_next(
    words: list[str], expected: set[str], bash_script: Path, tmp_path: Path
) -> None:
    for name in ("particles.star", "map.mrc"):
        (tmp_path / name).touch()
    assert offered(bash_script, tmp_path, *words) == expected


def test_bash_is_told_that_these_are_file_names(bash_script: Path) -> None:
    command = ["bash", "--norc", "-c", 'source "$1"; complete -p gumnet', "bash", str(bash_script)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "-o filenames" in said, "folders end in a slash and go on"
    assert "-o default" in said, "a folder that is called as a command, average, is still offered"


@pytest.mark.parametrize(("shell", "first"), [("zsh", "#compdef gumnet"), ("fish", "# Fish completion for gumnet")])
def test_scripts_of_other_shells_know_all_commands(shell: str, first: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--install-completion", "--shell", shell, "--show"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(first)
    assert all(command in text for command in COMMANDS)


def test_it_is_installed_once_and_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".bashrc").write_text("alias ll='ls -l'\n")
    for _ in range(2):
        assert main(["--install-completion", "--shell", "bash"]) == 0
    installed = tmp_path / ".local/share/bash-completion/completions/gumnet"
    assert installed.read_text(encoding="utf-8") == script(build(), "bash")
    lines = (tmp_path / ".bashrc").read_text().splitlines()
    assert lines[0] == "alias ll='ls -l'"
    assert sum(str(installed) in line for line in lines) == 1
    assert "start-up file" not in capsys.readouterr().out.split("Wrote")[-1], "it was there the second time"


@pytest.mark.parametrize("running", ["tcsh", "powershell"])
def test_a_shell_without_completion_is_one_line(
    running: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ZSH_VERSION", "BASH_VERSION", "FISH_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHELL", f"/bin/{running}")
    monkeypatch.setenv("PATH", str(tmp_path))  # where no ps says which program runs this one
    assert main(["--install-completion"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("gumnet: error: ")
    assert text.count("\n") == 1
    assert "--shell" in text
