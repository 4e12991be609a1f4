"""What SECURITY.md promises of the code as a whole; promises of one module are tested with it."""

from __future__ import annotations

import ast
import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gumnet
from gumnet.errors import InputError
from gumnet.io.read import read_particles
from gumnet.io.store import Store
from tests.fuzz.targets import COUNT, TARGETS

SOURCE = Path(gumnet.__file__).parent
RUNS_CODE = {
    "eval", "exec", "compile", "pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load", "marshal.loads",
    "marshal.load", "shelve.open", "yaml.load", "joblib.load", "os.system", "os.popen",
}  # fmt: skip
UNPICKLES = {"engine/worker.py", "engine/cluster.py"}
"""A worker of this machine gets its work through a pair of sockets, one of Dask from the scheduler: see SECURITY.md."""
CONNECTS = {"socket", "ssl", "http", "urllib", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "distributed"}
MAY_CONNECT = {"engine/pool.py": {"socket"}, "engine/cluster.py": {"distributed"}}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_is_unpickled_or_evaluated_but_by_workers() -> None:
    found = {name for name, tree in modules() for node in ast.walk(tree) if _called(node) in RUNS_CODE}
    assert found == UNPICKLES
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) in ("np.load", "np.lib.format.read_array"):
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                refused = given.get("allow_pickle")
                assert isinstance(refused, ast.Constant), name
                assert refused.value is False, name
            if isinstance(node, ast.Call) and _called(node).startswith("subprocess."):
                assert "shell" not in {keyword.arg for keyword in node.keywords}, f"{name} starts a shell"


def _called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def test_nothing_connects_but_workers() -> None:
    for name, tree in modules():
        imported: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
        assert imported & CONNECTS <= MAY_CONNECT.get(name, set()), name


class Trap:
    """What runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_a_trap_springs_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", TARGETS)
def test_no_reader_runs_a_pickle(name: str, tmp_path: Path) -> None:
    target, mark = TARGETS[name], tmp_path / "mark"
    target.make(tmp_path)
    path = tmp_path / target.name
    array = np.array([Trap(mark)], dtype=object)
    for protocol in (0, 5):
        path.write_bytes(pickle.dumps(Trap(mark), protocol=protocol))
        for reader in target.readers:
            with contextlib.suppress(InputError):
                reader(path)
    np.savez(tmp_path / "trap.npz", distances=array, names=array)
    path.write_bytes((tmp_path / "trap.npz").read_bytes())
    for reader in target.readers:
        with contextlib.suppress(InputError):
            reader(path)
    assert not mark.exists()


def test_no_store_runs_a_pickle(tmp_path: Path) -> None:
    TARGETS["store-index"].make(tmp_path)
    folder, mark = tmp_path / "store", tmp_path / "mark"
    np.save(folder / "exponents.npy", np.array([Trap(mark)] * COUNT, dtype=object), allow_pickle=True)
    index = folder / "store.json"
    size = (folder / "exponents.npy").stat().st_size
    listed = f'"others": [{{"file": "exponents.npy", "count": 0, "size": {size}, "sha256": ""}}, '
    index.write_text(index.read_text().replace('"others": [', listed))
    assert len(Store.open(folder).others) == 2
    with pytest.raises(InputError, match="no array of numpy"):
        read_particles(folder).read_volumes([0])
    assert not mark.exists()
