"""Damage to a file, as hypothesis draws it: bits and numbers of headers, odd words, what is cut, doubled or moved."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from hypothesis import strategies as st

HEADER = 1024
"""Binary numbers are put where headers are."""
NUMBERS = (0, 1, -1, 2, 3, 255, 256, 65535, 65536, 2**24, 2**31 - 1, -(2**31))
WORDS = (
    "", "0", "-1", "1e308", "-1e308", "1e999", "nan", "inf", "-inf", "1e-320", "9223372036854775808", "0x10", "1_000",
    "99999999999999999999", "1.5", "2147483648", "1@", "@", "0@volumes.mrcs", "-3@volumes.mrcs", "9@volumes.mrcs",
    "1@1@volumes.mrcs", "../x.mrc", "/dev/zero", "/proc/self/mem", ".", "..", "/", "~", "\u00e9", "\u2028", "\x00", "#",
    "'", '"', ";", "_", "loop_", "data_", "data_particles", "data_optics", "stop_", "null", "true", "{}", "[]", "[[]]",
    "[" * 2000, "(" * 200, "{" * 2000, '{"a":' * 1500, "'" * 3, "a" * 70000, "-" * 500, "\r", "\n\n", "\t", ",,,", "٣",
    "NaN", "None", "<NA>", "1,5", "½", "²",
)  # fmt: skip
Edit = Callable[[bytes], bytes]
_SPACED = re.compile(rb"[^\s,:{}\[\]\"]+")


def _at(share: float, data: bytes) -> int:
    return int(share * len(data))


def _word(share: float, word: str) -> Edit:
    def edit(data: bytes) -> bytes:
        found = list(_SPACED.finditer(data))
        if not found:
            return data + word.encode()
        which = found[int(share * len(found))]
        return data[: which.start()] + word.encode() + data[which.end() :]

    return edit


def _number(share: float, value: int, form: str) -> Edit:
    packed = struct.pack(form, value & (2 ** (8 * struct.calcsize(form)) - 1))

    def edit(data: bytes) -> bytes:
        place = _at(share, data[:HEADER]) // len(packed) * len(packed)
        return data[:place] + packed + data[place + len(packed) :]

    return edit


def _bytes(share: float, new: bytes) -> Edit:
    return lambda data: data[: _at(share, data)] + new + data[_at(share, data) + len(new) :]


def _cut(start: float, stop: float) -> Edit:
    return lambda data: data[: _at(min(start, stop), data)] + data[_at(max(start, stop), data) :]


def _doubled(start: float, stop: float) -> Edit:
    def edit(data: bytes) -> bytes:
        first, last = sorted((_at(start, data), _at(stop, data)))
        return data[:last] + data[first:last] + data[last:]

    return edit


def _ended(share: float) -> Edit:
    return lambda data: data[: _at(share, data)]


def _line(start: float, stop: float) -> Edit:
    def edit(data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines.insert(_at_of(start, lines), lines.pop(_at_of(stop, lines)))
        return b"\n".join(lines)

    return edit


def _at_of(share: float, lines: list[bytes]) -> int:
    return min(int(share * len(lines)), len(lines) - 1)


SHARE = st.floats(0, 1, exclude_max=True)
EDITS: st.SearchStrategy[Edit] = st.one_of(
    st.builds(_word, SHARE, st.sampled_from(WORDS)),
    st.builds(_word, SHARE, st.text(max_size=8)),
    st.builds(_number, SHARE, st.sampled_from(NUMBERS), st.sampled_from(["<I", ">I", "<H", "<Q", "B"])),
    st.builds(_bytes, SHARE, st.binary(min_size=1, max_size=16)),
    st.builds(_cut, SHARE, SHARE),
    st.builds(_doubled, SHARE, SHARE),
    st.builds(_ended, SHARE),
    st.builds(_line, SHARE, SHARE),
)
DAMAGE = st.lists(EDITS, min_size=1, max_size=4)
"""What is done to a file, one after the other."""


def damaged(data: bytes, edits: list[Edit]) -> bytes:
    """Return the bytes of a file after some edits."""
    for edit in edits:
        data = edit(data)
    return data
