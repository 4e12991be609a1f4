"""A joint alignment that is stopped anywhere goes on to the same result, to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gumnet.alignment.work import AlignWork
from gumnet.averaging.checkpoint import Checkpoint, tensors_of
from gumnet.averaging.config import AverageConfig
from gumnet.averaging.joint import average
from gumnet.averaging.result import Average
from gumnet.averaging.start_config import Phase, StartConfig, StartStep
from gumnet.averaging.start_progress import StartShare
from gumnet.engine.work import Result, Run
from gumnet.journal import Journal
from gumnet.particles import Particles, Poses
from gumnet.simulation.config import SimulationConfig
from gumnet.simulation.dataset import simulate
from gumnet.simulation.phantom import phantom

BOX = 12
QUICK = AverageConfig(iterations=3, max_shift=1.0, device="cpu")


class StoppedError(Exception):
    """Stands for whatever ends a run in the middle."""


@pytest.fixture(autouse=True)
def short_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = (Phase(2, 1, 1.0, 0.7), Phase(3, 2, 0.5, 0.7), Phase(4, 1, 0.5, 0.3))
    monkeypatch.setattr("gumnet.averaging.first_search.SCHEDULE", phases)
    # Particles as clear as these would be sure of their poses too early for all phases to be tried.
    monkeypatch.setattr("gumnet.averaging.start.ALL_SURE", 2.0)
    # The last two of three iterations refine, which is quick.
    monkeypatch.setattr("gumnet.averaging.iterate.GLOBAL_ITERATIONS", 1)
    monkeypatch.setattr("gumnet.averaging.iterate.SETTLED_DEGREES", 360.0)


@pytest.fixture(scope="module")
def particles() -> Particles:
    config = SimulationConfig(snr=2.0, box=BOX, voxel_size_angstrom=24.0, max_shift=1.0, ctf=False, noise="white")
    return simulate(phantom(0, BOX)[None], particles=12, config=config).particles


@pytest.fixture
def journal_file(tmp_path: Path) -> Path:
    return tmp_path / "out.journal"


def opened(path: Path) -> Journal:
    return Journal.open(path, settings={}, inputs={}, resume=True)


class StopsAtNews:
    """Stops a run at the first step or iteration that no run before it came to."""

    def __init__(self, *, every_step: bool) -> None:
        self.every_step = every_step
        self.seen: set[object] = set()
        self.told: list[object] = []

    def begin(self) -> None:
        self.told = []

    def start(self, whose: str, step: StartStep) -> None:
        self._take((whose, step), stops=self.every_step)

    def iteration(self, step: object, *_: object) -> None:
        self._take(step, stops=True)

    def _take(self, event: object, *, stops: bool) -> None:
        self.told.append(event)
        if stops and event not in self.seen:
            self.seen.add(event)
            raise StoppedError


def same(a: Average, b: Average) -> bool:
    tensors = [(a.map, b.map), (a.half_maps, b.half_maps), (a.fsc, b.fsc)]
    before, after = a.particles, b.particles
    tensors += [(before.classes, after.classes), (before.half_sets, after.half_sets)]
    pairs = zip(vars(before.poses).values(), vars(after.poses).values(), strict=True)
    alike = all(torch.equal(x, y) if x is not None and y is not None else x is y for x, y in (*tensors, *pairs))
    told = (a.history, a.starts, a.notes) == (b.history, b.starts, b.notes)
    return alike and told and all(same(x, y) for x, y in zip(a.classes, b.classes, strict=True))


@pytest.mark.parametrize(
    ("config", "every_step"),
    [
        (QUICK, True),
        (replace(QUICK, classes=2, iterations=1), False),
        (replace(QUICK, start="blob", iterations=1), False),
        (replace(QUICK, symmetry="C2", iterations=1), False),
    ],
    ids=["halves", "classes", "blob", "symmetry"],
)
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_bits(
    config: AverageConfig, every_step: bool, particles: Particles, journal_file: Path
) -> None:
    whole = average(particles, config)
    stops = StopsAtNews(every_step=every_step)
    runs = 0
    while True:
        runs += 1
        stops.begin()
        with opened(journal_file) as journal:
            try:
                made = average(particles, config, on_iteration=stops.iteration, on_start=stops.start, journal=journal)
                break
            except StoppedError:
                continue
    assert runs == len(stops.seen) + 1 > len(whole.history)
    assert made.history == whole.history
    assert same(made, whole)
    assert made.particles.poses.confidences is not None, "what the search was sure of stays with the particles"
    # The last run had nothing left to do but the sums.
    assert not [event for event in stops.told if not isinstance(event, tuple)]


def test_what_is_finished_is_not_done_again(particles: Particles, journal_file: Path) -> None:
    events: list[object] = []
    starts = StartConfig().starts

    def stop(*event: object) -> None:
        events.append(event)
        if len([e for e in events if e[0] == "half 2"]) == starts + 1:  # type: ignore[index]
            raise StoppedError

    with opened(journal_file) as journal, pytest.raises(StoppedError):
        average(particles, QUICK, on_start=stop, journal=journal)
    # Half 2 stopped after its first phase, of a step a start: it goes on with the second phase, and half 1 is done.
    again: list[tuple[str, StartStep]] = []
    with opened(journal_file) as journal:
        average(particles, replace(QUICK, iterations=1), on_start=lambda *e: again.append(e), journal=journal)
    halves = [(whose, step.shells) for whose, step in again if whose.startswith("half")]
    assert halves == [("half 2", 3)] * 2 * starts + [("half 2", 4)] * StartConfig().starts_after(2)


def test_batches_that_were_aligned_in_an_iteration_are_not_aligned_again(
    particles: Particles, journal_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligned: list[int] = []
    start, add = AlignWork.start, Journal.add

    def counting(work: AlignWork, device: torch.device) -> Run:
        run = start(work, device)

        def following(rows: Sequence[int]) -> Result:
            aligned.append(len(rows))
            return run(rows)

        return following

    def stopping(journal: Journal, number: int, payload: bytes) -> None:
        add(journal, number, payload)
        if sum(aligned) == 8:
            raise StoppedError

    monkeypatch.setattr(AlignWork, "start", counting)
    config = replace(QUICK, start="blob", iterations=1, batch_size=2, refine=False)
    whole = average(particles, config)
    assert sum(aligned) == 2 * len(particles), "once, and once on the map of the other half"
    aligned.clear()
    monkeypatch.setattr(Journal, "add", stopping)
    with opened(journal_file) as journal, pytest.raises(StoppedError):
        average(particles, config, journal=journal)
    monkeypatch.setattr(Journal, "add", add)
    aligned.clear()
    with opened(journal_file) as journal:
        made = average(particles, config, journal=journal)
    assert sum(aligned) == 2 * len(particles) - 8, "one half and a batch of the other were kept"
    assert same(made, whole)


def test_batches_are_those_of_one_piece_of_work_and_cut_as_they_were(journal_file: Path) -> None:
    with opened(journal_file) as journal:
        first, second = (Checkpoint(journal).within("class 1").batches(f"half {half}") for half in (1, 2))
        assert first is not None
        assert second is not None
        first.add(3, b"three")
        assert first.agree({"particles a batch": 16}) == {"particles a batch": 16}
        assert 3 in first
        assert 3 not in second
        assert second.agree({"particles a batch": 4}) == {"particles a batch": 4}
    with opened(journal_file) as journal:
        again = Checkpoint(journal).within("class 1").batches("half 1")
        assert again is not None
        assert again.read(3) == b"three"
        assert again.agree({"particles a batch": 8}) == {"particles a batch": 16}, "as the run began"
    assert Checkpoint().batches("half 1") is None


def test_a_checkpoint_gives_back_what_it_kept_to_the_bit(journal_file: Path) -> None:
    poses = replace(Poses.identity(3), confidences=torch.rand(3, dtype=torch.float64))
    third = 1 / 3
    with opened(journal_file) as journal:
        kept = Checkpoint(journal).within("half 1")
        kept.keep("state", tensors_of(poses, "here "), {"evidence": [third, float("-inf")], "words": "Å"})
    with opened(journal_file) as journal:
        assert Checkpoint(journal).within("half 2").find("state") is None
        found = Checkpoint(journal).within("half 1").find("state")
    assert found is not None
    assert found.facts == {"evidence": [third, float("-inf")], "words": "Å"}
    read = found.poses("here ")
    assert torch.equal(read.confidences, poses.confidences)
    assert read.scores.isnan().all()
    assert read.spreads_degrees is None


def test_without_a_journal_nothing_is_kept() -> None:
    kept = Checkpoint()
    kept.keep("state", {"x": torch.ones(1)}, {})
    assert kept.find("state") is None


def _steps(config: StartConfig, most: int) -> Iterator[StartStep]:
    for done, phase in enumerate(config.schedule):
        for start in range(1, config.starts_after(done) + 1):
            for _ in range(min(most, phase.steps)):
                yield StartStep(start, phase.shells, 0.0, (1.0,), 0.0)


@pytest.mark.parametrize("most", [1, 99])
def test_the_share_of_a_search_rises_to_the_whole(most: int) -> None:
    config = StartConfig()
    share = StartShare(config)
    shares = [share.after(step) for step in _steps(config, most)]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.05
    assert shares[-1] == pytest.approx(1.0) if most == 99 else shares[-1] < 1


def test_half_of_the_starts_go_on_after_each_phase_but_the_first() -> None:
    assert [StartConfig(starts=4).starts_after(done) for done in range(5)] == [4, 4, 2, 1, 1]
