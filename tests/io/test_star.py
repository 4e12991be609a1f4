from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile

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
        (b"1 2 3\n4 5 6\n", "line 1 comes before any data_ block"),
        (b"# only a comment\n", "there is no data_ block"),
        (b"data_particles\n", "data_particles has no columns"),
        (b"data_a\n\n_rlnX\n", "line 3 has 0 values for _rlnX"),
        (b"data_a\n\n_rlnX 1 2\n", "line 3 has 2 values for _rlnX"),
        (b"data_a\n\n_rlnX 1\n5 6\n", "line 4 has '5' where a column is wanted"),
        (b"data_a\n\nloop_\n_rlnX #1\n1 2 3\n1 2\n", "line 5 has 3 values for 1 columns"),
        (b"data_a\nloop_\n_rlnX\n1\n\ndata_a\nloop_\n_rlnX\n1\n", "line 6 starts a second block data_a"),
        (LOOP.encode()[:-6], "line 8 has 2 values for 3 columns"),
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
    with pytest.raises(InputError, match=r"test_data7\.star: line \d+ starts a second loop_ in one block"):
        read_star(shared_data / "metadata" / "broken" / "test_data7.star")


def test_quotes_comments_and_names_like_keywords(tmp_path: Path) -> None:
    text = (
        "# head\ndata_a # first\nloop_ \n_name #1\n_note #2\n_x #3\r\n# between\n"
        "data_1.mrc 'two words' 1\n\n_b.mrc o'neil 2 # last\nd#1.mrc \"\" <NA>\n"
    )
    frame = read_star(_write(tmp_path / "a.star", text))["a"]
    assert frame["name"].tolist() == ["data_1.mrc", "_b.mrc", "d#1.mrc"]
    assert frame["note"].tolist() == ["two words", "o'neil", ""]
    np.testing.assert_array_equal(frame["x"], [1, 2, np.nan])


@pytest.mark.parametrize("name", ["relion3.0/relion_3.0", "relion4.0/relion_4.0", "relion5/R5_tutorial_run_data"])
def test_real_tables_are_read_as_starfile_reads_them(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / "metadata" / f"{name}.star"
    blocks = read_star(path)
    write_star(tmp_path / "a.star", blocks)
    for read in (starfile.read(path, always_dict=True), starfile.read(tmp_path / "a.star", always_dict=True)):
        assert list(read) == list(blocks)
        for key, block in blocks.items():
            expected = pd.DataFrame([read[key]]) if isinstance(read[key], dict) else read[key]
            assert list(expected.columns) == list(block.columns)
            for column in block.columns:
                if block[column].dtype.kind in "fi":
                    np.testing.assert_allclose(block[column], expected[column], rtol=1e-8)
                else:
                    assert block[column].tolist() == expected[column].astype(str).tolist()
