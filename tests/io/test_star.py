from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gumnet.errors import InputError
from gumnet.io.star import read_star, write_star

LOOP = "data_particles\n\nloop_\n_rlnTomoName #1\n_rlnAngleRot #2\n_rlnAngleTilt #3\n007 1.5 2\n008 -3 4e-1\n"


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_loops_and_simple_blocks_become_tables(tmp_path: Path) -> None:
    text = "\n# version 50001\n\ndata_general\n\n_rlnTomoSubTomosAre2DStacks   1\n\n# version 50001\n\n" + LOOP
    blocks = read_star(_write(tmp_path / "a.star", text))
    assert list(blocks) == ["general", "particles"]
    assert blocks["general"].iloc[0].to_dict() == {"rlnTomoSubTomosAre2DStacks": 1}
    assert blocks["particles"]["rlnTomoName"].tolist() == ["007", "008"]
    np.testing.assert_array_equal(blocks["particles"]["rlnAngleTilt"], [2.0, 0.4])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    frame = pd.DataFrame({"rlnImageName": ["1@a b.mrcs", "002"], "x": [np.pi * 1e3, np.nan], "n": [3, 4]})
    write_star(tmp_path / "a.star", {"general": {"flag": 1}, "particles": frame})
    blocks = read_star(tmp_path / "a.star")
    assert blocks["general"]["flag"].tolist() == [1]
    assert blocks["particles"]["rlnImageName"].tolist() == ["1@a b.mrcs", "002"]
    np.testing.assert_allclose(blocks["particles"]["x"], frame["x"], rtol=1e-8)
    assert blocks["particles"]["n"].tolist() == [3, 4]
    assert (tmp_path / "a.star").read_text().startswith("\ndata_general")
    with pytest.raises(InputError, match="exists already"):
        write_star(tmp_path / "a.star", {"particles": frame})


def test_the_same_blocks_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a.star", "b.star"):
        write_star(tmp_path / name, {"": pd.DataFrame({"x": [1.0]})})
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()


def test_an_empty_loop_is_an_empty_table(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.star", "data_particles\n\nloop_\n_rlnAngleRot #1\n_rlnAngleTilt #2\n\n")
    frame = read_star(path)["particles"]
    assert len(frame) == 0
    assert list(frame.columns) == ["rlnAngleRot", "rlnAngleTilt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\x00\x01MAP \xff\xfe", "not text"),
        (b"\x89PNG\r\n", "not text"),
        (b"1 2 3\n4 5 6\n", "line 1: expected block header"),
        (b"# only a comment\n", "there is no data_ block"),
        (b"data_particles\n", "data_particles has no columns"),
        (b"data_a\n\n_rlnX\n", "line 3: .*_rlnX has no value"),
        (b"data_a\n\n_rlnX 1 2\n", "line 3: parse error"),
        (b"data_a\n\n_rlnX 1\n5 6\n", "line 4: parse error"),
        (b"data_a\nloop_\n_rlnX\n1\n\ndata_a\nloop_\n_rlnX\n1\n", "duplicate block name: a"),
        (b"data_a\n\ndata_b\nloop_\n_rlnX #1\n1\n", "data_a has no columns"),
        (b"data_a\nloop_\n_rlnX #1\n_rlnX #2\n1 2\n", "line 2: .*duplicate tag _rlnX"),
        (LOOP.encode()[:-6], "line 3: Wrong number of values"),
    ],
)
def test_what_is_no_star_file_is_said_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.star"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.star: .*{message}.*; ") as caught:
        read_star(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_star(tmp_path / "none.star")
    with pytest.raises(InputError, match="is a folder"):
        read_star(tmp_path)


def test_a_star_file_with_two_loops_in_a_block_is_refused(shared_data: Path) -> None:
    with pytest.raises(InputError, match=r"test_data7\.star: the block data_refined_volume holds several tables"):
        read_star(shared_data / "metadata" / "broken" / "test_data7.star")


def test_quotes_comments_and_names_like_keywords(tmp_path: Path) -> None:
    text = (
        "# head\ndata_a # first\nloop_ \n_name #1\n_note #2\n_x #3\r\n# between\n"
        "'data_1.mrc' 'two words' 1\n\nb.mrc o'neil 2 # last\nd#1.mrc \"\" <NA>\n"
    )
    frame = read_star(_write(tmp_path / "a.star", text))["a"]
    assert frame["name"].tolist() == ["data_1.mrc", "b.mrc", "d#1.mrc"]
    assert frame["note"].tolist() == ["two words", "o'neil", ""]
    np.testing.assert_array_equal(frame["x"], [1, 2, np.nan])


@pytest.mark.parametrize(
    ("text", "block", "expected"),
    [
        ("data_a\nloop_\n_x #1\n\n# version 50001\n\ndata_b\n_y 1 # one\n", "b", {"y": [1]}),
        ("data_a\n_path C:\\data\\new\n_x 1_2\n", "a", {"path": ["C:\\data\\new"], "x": ["1_2"]}),
        ("data_a\nloop_\n_x\n_y\n1 -nan\n2 3\n", "a", {"x": [1, 2], "y": [np.nan, 3]}),
        ("data_a\n_x <NA>\n_y nan\n", "a", {"x": [np.nan], "y": [np.nan]}),
        ("data_a\nloop_\n_x\n''\nb\n", "a", {"x": ["", "b"]}),
        ("data_a\nloop_\n_rlnImageName\nnan\n7\n", "a", {"rlnImageName": ["nan", "7"]}),
        ("data_a\nloop_\n_x\n" + "007\n" * 100_000 + "b\n", "a", {"x": ["007"] * 100_000 + ["b"]}),
    ],
)
def test_values_mean_what_they_say(tmp_path: Path, text: str, block: str, expected: dict[str, list[object]]) -> None:
    found = read_star(_write(tmp_path / "a.star", text))[block]
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected), check_dtype=False)


def test_a_mended_file_is_read_anew(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_star(_write(tmp_path / "a.star", LOOP[:-6]))
    assert len(read_star(_write(tmp_path / "a.star", LOOP))["particles"]) == 2


def test_what_is_written(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1 / 3, np.nan], "name": ["a  b", "#1"], "n": [1, 2]})
    write_star(tmp_path / "a.star", {"general": {"flag": 1, "size": 2 / 3, "name": "a b"}, "": frame})
    lines = [line.split() for line in (tmp_path / "a.star").read_text().splitlines()]
    assert [line for line in lines if line] == [
        ["data_general"],
        ["_flag", "1"],
        ["_size", "0.666666667"],
        ["_name", '"a', 'b"'],
        ["data_"],
        ["loop_"],
        ["_x", "#1"],
        ["_name", "#2"],
        ["_n", "#3"],
        ["0.333333333", '"a', 'b"', "1"],
        ["nan", '"#1"', "2"],
    ]
    assert read_star(tmp_path / "a.star")[""]["name"].tolist() == ["a b", "#1"]


@pytest.mark.parametrize("name", ["relion3.0/relion_3.0", "relion4.0/relion_4.0", "relion5/R5_tutorial_run_data"])
def test_real_tables_hold_what_their_lines_say(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / "metadata" / f"{name}.star"
    loop = [line.split() for line in path.read_text().split("loop_")[-1].splitlines() if line.strip()]
    names = [line[0][1:] for line in loop if line[0].startswith("_")]
    rows = [line for line in loop if not line[0].startswith("_")]
    blocks = read_star(path)
    write_star(tmp_path / "a.star", blocks)
    for frame in (list(blocks.values())[-1], list(read_star(tmp_path / "a.star").values())[-1]):
        assert list(frame.columns) == names
        for column, entries in zip(names, zip(*rows, strict=True), strict=True):
            if frame[column].dtype.kind in "fi":
                np.testing.assert_allclose(frame[column], np.array(entries, float), rtol=1e-8)
            else:
                assert frame[column].tolist() == list(entries)
