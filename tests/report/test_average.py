"""The report of an average: all its figures, the same values in words as in drawings, and names as text."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from oracles.averages import BOX, VOXEL_ANGSTROM, average_of, classed_average, full_average
from oracles.half_maps import noisy_phantom

from gumnet.averaging.mask import soft_sphere
from gumnet.averaging.result import Average
from gumnet.averaging.start import StartStep
from gumnet.devices import seeded
from gumnet.geometry.fourier import to_fourier, to_real
from gumnet.geometry.wedge import missing_wedge
from gumnet.io.mrc import read_map
from gumnet.io.star import read_star
from gumnet.particles import Poses
from gumnet.report.average import notes, write_average_report
from gumnet.report.average_files import write_average
from gumnet.report.average_particles import flagged, sureness_section, sureness_words
from gumnet.report.average_resolution import MASKED, NOT_CORRECTED, RANDOM, WHOLE, resolution_section
from gumnet.report.average_steps import searches
from gumnet.report.plots import resolution_text
from gumnet.resolution.conical import ConicalFsc, conical_fsc
from gumnet.resolution.phase_randomisation import phase_randomisation

HOSTILE = "</script><script>alert(1)</script>\" onload='x' &amp; $x^2$"


def cones_of(made: Average) -> ConicalFsc:
    return conical_fsc(made.half_maps, voxel_size_angstrom=VOXEL_ANGSTROM, generator=seeded(0), directions=20)


@pytest.fixture(scope="module")
def classed() -> Average:
    """Return an average of two classes with a hostile name and a note."""
    made = classed_average(torch.Generator().manual_seed(5))
    particles = replace(made.particles, names=(HOSTILE, *made.particles.names[1:]))
    return replace(made, particles=particles, notes=(HOSTILE,))


@pytest.fixture(scope="module")
def written(classed: Average, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a report."""
    folder = tmp_path_factory.mktemp("average")
    write_average_report(
        folder,
        classed,
        lead=f"36 particles of {HOSTILE}.",
        command=f"gumnet average {HOSTILE}",
        versions={"gumnet": HOSTILE},
        settings={"Particles": HOSTILE, "Seed": "0"},
        seconds={HOSTILE: 12.3},
    )
    return folder


@pytest.fixture(scope="module")
def html(written: Path) -> str:
    return (written / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_every_part_and_is_small(html: str) -> None:
    heads = re.findall("<h2>(.*?)</h2>", html)
    assert heads == [
        "Map",
        "Resolution",
        "Orientations",
        "Scores and confidence",
        "Classes",
        "First maps",
        "Convergence",
        "How it was made",
    ]
    assert len(html) < 8_000_000
    assert "gumnet average" in html
    assert "12.3" in html


def test_names_are_text_and_the_only_script_is_ours(html: str) -> None:
    assert len(re.findall("<script", html)) == 1
    assert "alert(1)" in html
    assert not re.search("<[^>]* onload=", re.sub('"[^"]*"', "", html))
    policy = re.search('Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    assert re.search("script-src 'sha256-[^']+'$", policy[1])


def test_figures_lie_beside_the_page_as_png_and_svg(written: Path) -> None:
    names = {path.name for path in (written / "figures").iterdir()}
    expected = {"surface", "slices", "fsc", "fsc_directions", "resolution_directions", "orientations", "scores"}
    expected |= {"confidences", "shifts", "classes", "fsc_classes", "starts_1", "starts_2"}
    expected |= {f"{kind}_class_{number}" for kind in ("convergence", "changes") for number in (1, 2)}
    assert names == {f"{name}.{suffix}" for name in expected for suffix in ("png", "svg")}
    for path in (written / "figures").glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert "currentColor" not in text
    assert sum(path.stat().st_size for path in (written / "figures").iterdir()) < 5_000_000


def test_words_and_drawings_name_the_same_values(classed: Average, html: str) -> None:
    value = resolution_text(classed.resolution_angstrom)
    assert f"<dd>{value}</dd>" in html
    assert f"The half maps agree to {value} " in html
    assert f"half maps: {value} at FSC 0.143" in html
    for one in classed.classes:
        number, size = int(one.particles.classes[0]), len(one.particles)
        value = resolution_text(one.resolution_angstrom)
        assert f"class {number}: {value} at FSC 0.143" in html
        assert f'<th scope="row">class {number}</th><td>{size}</td>' in html
        assert re.search(f">class {number}</th>(<td>[^<]*</td>){{2}}<td>{value}</td>", html)
    scores = classed.particles.poses.scores
    assert f"mean {float(scores.mean()):.2f}" in html


def test_the_corrected_curve_ends_where_the_text_says(generator: torch.Generator) -> None:
    mask = soft_sphere(BOX, radius=7, edge=3)
    made = full_average(generator, noise=0.4)
    found = phase_randomisation(made.half_maps, mask, voxel_size_angstrom=VOXEL_ANGSTROM, generator=seeded(4))
    assert found.randomised_from_shell is not None
    made = replace(made, fsc=found.corrected, resolution_angstrom=found.resolution_angstrom, mask=mask)
    section = resolution_section(made, cones_of(made), seed=4)
    curves = dict(
        zip(section.tables[0].header[2:], zip(*(row[2:] for row in section.tables[0].rows), strict=True), strict=True)
    )
    assert list(curves) == [MASKED, WHOLE, NOT_CORRECTED, RANDOM]
    for name, curve in ((NOT_CORRECTED, found.masked), (RANDOM, found.randomised)):
        assert curves[name] == tuple(f"{value:.3f}" for value in curve[1:].tolist()), "the same draws of phases"
    value = resolution_text(found.resolution_angstrom)
    assert f"{MASKED}: {value} at FSC 0.143" in section.figures[0].svg
    assert f"agree to {value} within the mask" in section.paragraphs[0]
    assert f"from shell {found.randomised_from_shell} on" in section.figures[0].caption


def test_the_report_says_where_the_resolution_depends_on_direction(generator: torch.Generator) -> None:
    _, halves = noisy_phantom(BOX, 0.1, generator)
    alike = average_of(halves)
    assert "same resolution in all directions" in resolution_section(alike, cones_of(alike)).paragraphs[-1]
    made = average_of(to_real(to_fourier(halves) * missing_wedge(BOX, 60.0), BOX))
    cones = cones_of(made)
    said = resolution_section(made, cones)
    assert "along z" in said.paragraphs[-1]
    assert "preferred orientation or missing wedge" in said.paragraphs[-1]
    assert said.paragraphs[-1] in notes(made, cones), "and at the top"
    worst = f"worst, along z: {resolution_text(cones.worst_angstrom)}"
    assert worst in said.figures[1].svg


def test_without_resolution_there_is_no_word_on_directions(generator: torch.Generator) -> None:
    _, halves = noisy_phantom(BOX, 0.1, generator)
    made = replace(average_of(halves), resolution_angstrom=math.inf)
    section = resolution_section(made, cones_of(made))
    assert len(section.paragraphs) == len(section.figures) == 1
    assert section.paragraphs[0].startswith("The half maps do not agree")
    assert section.paragraphs[0] in notes(made, cones_of(made))


def test_unsure_particles_are_counted_and_named(generator: torch.Generator) -> None:
    made = full_average(generator)
    assert sorted(flagged(made).tolist()) == list(range(0, 24, 4))
    words, said = sureness_words(made)
    assert "6 of 24 particles (25 %) have a confidence below 0.5" in words
    assert said == (words,)
    table = sureness_section(made).tables[0]
    assert {row[0] for row in table.rows} == {f"particle {i + 1}" for i in range(0, 24, 4)}


def test_particles_without_confidences_or_scores_have_no_such_figures(generator: torch.Generator) -> None:
    made = full_average(generator)
    bare = Poses.of(made.particles.poses.rotations, made.particles.poses.shifts)
    section = sureness_section(replace(made, particles=made.particles.with_poses(bare)))
    assert "no confidences" in section.paragraphs[0]
    assert [figure.name for figure in section.figures] == ["shifts"]


def test_searches_are_told_apart_also_in_a_single_band() -> None:
    def steps(*pairs: tuple[int, int]) -> tuple[StartStep, ...]:
        return tuple(StartStep(start, shells, 0.0, (1.0,), 0.5) for start, shells in pairs)

    one = ((1, 4), (1, 4), (2, 4), (1, 5), (2, 5), (2, 6), (1, 6), (1, 7))
    assert [sum(map(len, each.values())) for each in searches(steps(*one, *one))] == [8, 8]
    flat = ((1, 4), (2, 4), (2, 4))
    assert [sum(map(len, each.values())) for each in searches(steps(*flat, *flat, *flat))] == [3, 3, 3]
    assert searches(()) == []


def test_each_class_has_its_files_and_the_largest_also_at_the_top(classed: Average, tmp_path: Path) -> None:
    write_average(tmp_path, classed)
    one = {"map.mrc", "half1.mrc", "half2.mrc", "fsc.star"}
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".mrcs"} == one | {
        "class_001",
        "class_002",
        "particles.star",
        "view.cxc",
    }
    for number in (1, 2):
        assert {path.name for path in (tmp_path / f"class_{number:03d}").iterdir()} == one
        found = read_map(tmp_path / f"class_{number:03d}" / "map.mrc")[0]
        assert torch.allclose(found, classed.classes[number - 1].map.float())
    assert (tmp_path / "map.mrc").read_bytes() == (tmp_path / "class_001" / "map.mrc").read_bytes()
    script = (tmp_path / "view.cxc").read_text(encoding="utf-8")
    assert re.findall('open "(.*)"', script) == [
        "map.mrc",
        "class_001/map.mrc",
        "class_002/map.mrc",
        "half1.mrc",
        "half2.mrc",
    ]
    assert "hide #2,3,4,5 models" in script
    labels = read_star(tmp_path / "particles.star")["particles"]["rlnClassNumber"]
    assert labels.tolist() == classed.particles.classes.tolist()
