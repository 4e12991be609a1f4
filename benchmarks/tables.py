"""The tables of docs/benchmarks.md and docs/scale.md, made from the results files that they name.

    python benchmarks/tables.py            # write them
    python benchmarks/tables.py --check    # end with 1 if a page says otherwise than the files

A table stands between two lines of the page:

    <!-- table KIND FILE [FILE...] -->
    <!-- end -->

What is between is replaced by the table, and under it a line for each file of results/ with its date, hardware, commit
and command. Kinds are those of `KINDS`; for results of `gumnet benchmark`, copy the JSON of its output to results/.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from records import KINDS

from gumnet.benchmark.record import provenance_words, read_record
from gumnet.errors import InputError

HERE = Path(__file__).parent
PAGES = tuple(HERE.parent / "docs" / name for name in ("benchmarks.md", "scale.md"))
RESULTS = HERE / "results"
MARKED = re.compile(r"(<!-- table (?P<kind>[\w-]+) (?P<files>[^>]+?) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)


def filled(page: str, results: Path = RESULTS, *, path: Path = PAGES[0]) -> str:
    """Return a page, which lies at ``path``, with all its tables made anew.

    Raises
    ------
    InputError
        For a kind that is not known, a file that is not there or holds something else, and a marker without an end.
    """
    counts = {page.count("<!-- table "), page.count("<!-- end -->"), len(MARKED.findall(page))}
    if len(counts) > 1:
        raise InputError("a marker of a table has no end, or an end no marker", cure="write both", path=path)
    return MARKED.sub(lambda found: _filled(found, results, path), page)


def _filled(found: re.Match[str], results: Path, path: Path) -> str:
    kind, names = found["kind"], found["files"].split()
    if kind not in KINDS:
        raise InputError(f"no such kind of table: {kind}", cure=f"use one of: {', '.join(KINDS)}", path=path)
    records = [read_record(results / name) for name in names]
    try:
        table = KINDS[kind](records)
    except KeyError as error:
        problem = f"is no record of kind {kind}: it holds no {error}"
        raise InputError(problem, cure="name another kind or file", path=results / names[0]) from None
    sources = [f"- `results/{name}`: {provenance_words(record)}" for name, record in zip(names, records, strict=True)]
    text = "\n".join(sources)
    return f"{found[1]}{table}\n\nFrom\n\n{text}\n{found[5]}"


def main() -> None:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        try:
            wanted = filled(page, path=path)
        except InputError as error:
            raise SystemExit(f"error: {error}") from None
        if check and wanted != page:
            sys.exit(f"{path.name} differs from its results files: run python benchmarks/tables.py")
        if not check:
            path.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
