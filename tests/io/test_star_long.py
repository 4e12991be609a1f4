"""Long STAR files read a piece at a time: the same tables as in one go, in a few times less memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings

from gumnet.errors import InputError
from gumnet.io.star import read_star, write_star
from tests.fuzz.mutate import DAMAGE, Edit, damaged

TEXT = (
    "# version 1\n\ndata_general\n\n_flag 1\n_name 'a b'\n\ndata_optics\nloop_\n_rlnOpticsGroup #1\n_kV #2\n1 300\n\n"
    "data_particles # all\n\nloop_\n_rlnImageName #1\n_x #2\n_n #3\n_rlnTomoName #4\n_note #5\n"
    + "".join(f"{i}@a.mrcs {i / 3:.3f} {i} 00{i % 2} {'nan' if i % 3 else i}\n" for i in range(1, 20))
    + "# last\n\n"
)


def both(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, pd.DataFrame] | str]:
    """Return what comes of a file read in pieces of two or three rows, and as a whole: blocks, or the error."""
    found: list[dict[str, pd.DataFrame] | str] = []
    for size in (40, 2**40):
        monkeypatch.setattr("gumnet.io.star.PIECE", min(size, 10**9) if size > 40 else 0)
        monkeypatch.setattr("gumnet.io.star_long.PIECE", size)
        try:
            found.append(read_star(path))
        except InputError as error:
            found.append(str(error))
    return found


def assert_same(found: list[dict[str, pd.DataFrame] | str]) -> None:
    pieces, whole = found
    if isinstance(pieces, str) or isinstance(whole, str):
        assert pieces == whole
        return
    assert list(pieces) == list(whole)
    for name in whole:
        pd.testing.assert_frame_equal(pieces[name], whole[name])


def test_pieces_give_the_tables_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.star"
    path.write_text(TEXT)
    made = []
    monkeypatch.setattr("gumnet.io.star_long._Pieces.whole", _counted(made))
    found = both(path, monkeypatch)
    assert len(made) == 3, "each of the three blocks was put together of pieces, once"
    assert_same(found)
    particles = read_star(path)["particles"]
    assert particles["rlnTomoName"].tolist()[:2] == ["001", "000"], "names are text"
    assert particles["n"].dtype == "int64"


def _counted(made: list[int]) -> object:
    from gumnet.io.star_long import _Pieces

    whole = _Pieces.whole

    def counted(self: _Pieces) -> pd.DataFrame:
        made.append(max(len(parts) for parts in self.columns.values()))
        return whole(self)

    return counted


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(edits=DAMAGE)
@example(edits=[lambda data: data.replace(b" 18 ", b" b18 ")])  # a number no more, late in its column
@example(edits=[lambda data: data.replace(b" 18 ", b" 1.5 ")])
@example(edits=[lambda data: data.replace(b" 18 ", b" 99999999999999999999 ")])
@example(edits=[lambda data: data.replace(b"18@a.mrcs 6", b"18@a.mrcs\n6")])  # a row on two lines
@example(edits=[lambda data: data.replace(b"18@a.mrcs", b"\n;18@\na.mrcs\n;")])
@example(edits=[lambda data: data.replace(b"loop_\n_rln", b"loop_ _rln")])
@example(edits=[lambda data: data.replace(b"_note #5\n", b"_note 0@a.mrcs 1 1 1 1\n")])
@example(edits=[lambda data: data.replace(b"data_optics", b"data_particles")])
@example(edits=[lambda data: data.replace(b"\n", b"\r\n")])
@example(edits=[lambda data: data.replace(b"\n", b"\r")])
@example(edits=[lambda data: data + data.replace(b"data_", b"data_more_")])
@example(edits=[lambda data: b"\xef\xbb\xbf" + data])
@example(edits=[lambda data: data.split(b"1@a.mrcs")[0]])
def test_whatever_is_in_a_file_pieces_and_the_whole_agree(
    edits: list[Edit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.star"
    path.write_bytes(damaged(TEXT.encode(), edits))
    assert_same(both(path, monkeypatch))


def test_a_long_table_takes_less_than_ten_times_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gumnet.io.star_long.PIECE", 2**14)
    n = 2_500
    numbers = {f"rlnNumber{i}": [(i + 1) * row / 7 for row in range(n)] for i in range(12)}
    names = {"rlnImageName": [f"{row + 1:06d}@volumes.mrcs" for row in range(n)], "rlnTomoName": "TS_01"}
    path = tmp_path / "a.star"
    write_star(path, {"particles": pd.DataFrame({**names, **numbers})})
    tracemalloc.start()
    frame = read_star(path)["particles"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * path.stat().st_size
    assert len(frame) == n
    assert frame["rlnTomoName"].iloc[0] is frame["rlnTomoName"].iloc[-1], "words that come up again are kept once"


def test_a_table_is_written_in_pieces_as_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"x": [1 / 3, 2.0, 3.0], "name": ["a b", "", "#1"], "n": [1, 2, 3]})
    blocks = {"general": {"flag": 1}, "": frame, "none": frame.iloc[:0], "last": frame.iloc[:1]}
    write_star(tmp_path / "whole.star", blocks)
    monkeypatch.setattr("gumnet.io.star._ROWS_AT_ONCE", 2)
    write_star(tmp_path / "pieces.star", blocks)
    assert (tmp_path / "pieces.star").read_bytes() == (tmp_path / "whole.star").read_bytes()
    pd.testing.assert_frame_equal(read_star(tmp_path / "pieces.star")[""], frame, check_dtype=False)
