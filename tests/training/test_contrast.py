"""Training by contrast: what is drawn, how it is scored, and that it learns from signal alone."""

import json
from dataclasses import replace

import pytest
import torch

from gumnet.alignment.score import Candidates, Comparison, rescored
from gumnet.devices import seeded
from gumnet.errors import InputError
from gumnet.geometry.fourier import friedel_multiplicity, shift_volumes, to_fourier
from gumnet.geometry.so3 import random_rotations
from gumnet.geometry.warp import voxel_coordinates
from gumnet.geometry.wedge import missing_wedge
from gumnet.model.matched_filter import MatchedFilter, MatchedFilterConfig, load_filter
from gumnet.training.contrast import clean, contest, denoising_loss
from gumnet.training.contrast_config import ContrastConfig
from gumnet.training.contrast_data import Microscopes, Views, ViewSource
from gumnet.training.contrast_loop import learning_rate, train_matched
from gumnet.training.contrast_score import Cleaned, Pairs, log_likelihoods, read, shift_waves

NETWORK = MatchedFilterConfig(grid=12, channels=4, kernels=(3, 3, 3))
TINY = ContrastConfig(
    network=NETWORK,
    steps=3,
    denoising_steps=1,
    groups=2,
    views=3,
    mined=24,
    hard=6,
    near=2,
    microscopes=4,
    half_precision=False,
)


def blobs(count: int, box: int = 24, seed: int = 0) -> torch.Tensor:
    """Asymmetric sums of Gaussians, (count, N, N, N)."""
    generator = seeded(seed)
    points = voxel_coordinates(box)
    centres = torch.randn(count, 8, 3, generator=generator) * 0.14 * box
    distance = (points - centres[:, :, None, None, None]).square().sum(-1)
    return torch.exp(-distance / (2 * (0.06 * box) ** 2)).sum(1)


def source(snr: tuple[float, float], grid: int = 12, **kwargs: int) -> ViewSource:
    return ViewSource(blobs(4), grid, microscopes=kwargs.get("microscopes", 4), snr=snr, generator=seeded(1))


def noise_views(groups: int, views: int, seed: int, box: int = 12) -> Views:
    generator = seeded(seed)
    n = groups * views
    rotations = random_rotations(n, generator=generator, dtype=torch.float32)
    transfer = missing_wedge(box, 60.0).expand(n, -1, -1, -1)
    volumes = torch.randn(n, box, box, box, generator=generator)
    return Views(volumes, transfer, rotations, torch.zeros_like(volumes), torch.zeros(n, 3))


def losses(model: MatchedFilter, views: Views, config: ContrastConfig, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return contest(model, clean(model, views, config), views, config, seeded(seed)).losses()


def test_the_score_is_the_one_of_the_search() -> None:
    """At one shift, the likelihoods of training are those of `gumnet.alignment.score` with the same filter."""
    model = MatchedFilter(MatchedFilterConfig(grid=16, channels=4))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    views = source((0.5, 0.5), 16).draw(1, 3, seeded(3))
    binary = views.transfer.round()
    with torch.no_grad():
        cleaned = Cleaned.of(model, views.volumes, binary)
        pairs = Pairs.of(model, cleaned, torch.tensor([0]), torch.tensor([2]))
        rotations = random_rotations(5, generator=seeded(4), dtype=torch.float32)
        values, transfer = read(cleaned, rotations.expand(3, -1, -1, -1))
        logs = log_likelihoods(cleaned, pairs, values[:1], transfer[:1], shift_waves(cleaned.band, 0.0))
        comparison = Comparison.of(views.volumes[:1], views.volumes[2:], binary[:1], binary[2:], cleaner=model)
        candidates = Candidates(rotations[None], torch.zeros(1, 5, 3), torch.zeros(1, 5))
        want = rescored(comparison, candidates, model.config.shells).scores
    torch.testing.assert_close(logs / pairs.sharpness, want, atol=2e-4, rtol=1e-3)
    assert comparison.sharpness is not None
    torch.testing.assert_close(comparison.sharpness, pairs.sharpness)


def test_shifts_are_those_of_the_search() -> None:
    """A particle moved by whole voxels scores there what it scores at home unmoved."""
    model = MatchedFilter(NETWORK)
    views = source((50.0, 50.0)).draw(1, 3, seeded(3))
    shift = torch.tensor([1.0, -2.0, 0.0])
    moved = shift_volumes(views.volumes[:1], shift)
    volumes = torch.cat([views.volumes[:1], moved])
    with torch.no_grad():
        cleaned = Cleaned.of(model, volumes, views.transfer[:1].expand(2, -1, -1, -1))
        pairs = Pairs.of(model, cleaned, torch.tensor([0]), torch.tensor([1]))
        values, transfer = read(cleaned, torch.eye(3).expand(2, 1, 3, 3))
        waves = shift_waves(cleaned.band, 2.0)
        each = torch.stack(
            [
                log_likelihoods(cleaned, pairs, values[:1], transfer[:1], waves[:, i : i + 1])[0, 0]
                for i in range(waves.shape[1])
            ]
        )
    axis = torch.arange(-2.0, 3.0)
    torch.testing.assert_close(torch.cartesian_prod(axis, axis, axis)[int(each.argmax())], shift)


def test_microscopes_have_noise_of_unit_power() -> None:
    box = 16
    drawn = Microscopes.draw(12, box, box, seeded(0))
    total = (drawn.noise.square() * friedel_multiplicity(box)).sum(dim=(1, 2, 3))
    assert float(total.max()) <= 1.0 + 1e-5
    # Only what lies at the Nyquist frequency is left out, and it holds little unless the noise is white.
    assert float(total.min()) > 0.8
    assert bool((drawn.noise[drawn.transfer == 0] == 0).all())


def test_views_have_the_ratio_of_signal_to_noise_asked_for() -> None:
    """Two draws with the same random numbers but noise: at very high SNR the noise is gone, at 1 it is as strong."""
    clean = source((1e6, 1e6), 24).draw(16, 3, seeded(5))
    noisy = source((1.0, 1.0), 24).draw(16, 3, seeded(5))
    correlation = (clean.volumes * noisy.volumes).mean(dim=(1, 2, 3))
    # A tenth are nearly clean; the others correlate by sqrt(SNR / (1 + SNR)) with what they show.
    middle = correlation[correlation < 0.9].median()
    assert 0.6 < float(middle) < 0.85
    torch.testing.assert_close(noisy.volumes.square().mean(dim=(1, 2, 3)), torch.ones(48), atol=1e-4, rtol=0)


def test_clean_views_match_at_their_true_rotation() -> None:
    network = MatchedFilterConfig(grid=16)
    config = replace(TINY, network=network, jitter_degrees=0.0, near=0, groups=6)
    views = source((1e4, 1e4), network.grid).draw(6, 3, seeded(2))
    with torch.no_grad():
        _, won = losses(MatchedFilter(network), views, config, 3)
    assert float(won.mean()) > 0.9


def test_nothing_is_written_into_the_wedge_of_views() -> None:
    views = source((0.1, 0.1)).draw(4, 3, seeded(0))
    spectra = to_fourier(views.volumes).abs()
    assert float((spectra * (views.transfer == 0)).amax()) < 1e-3 * float(spectra.amax())


def test_pure_noise_stays_at_chance() -> None:
    """Particles of independent noise have no relative rotation: a filter trained on them finds none."""
    config = replace(TINY, near=0, groups=4, learning_rate=1e-2)
    torch.manual_seed(0)
    model = MatchedFilter(NETWORK)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    for step in range(15):
        loss, _ = losses(model, noise_views(4, 3, step), config, step)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    with torch.no_grad():
        results = [losses(model, noise_views(4, 3, 1000 + s), config, 1000 + s) for s in range(25)]
    won = torch.cat([w for _, w in results])
    chance = 1 / (config.mined + 1)
    # 300 pairs: four standard deviations of a binomial.
    assert abs(float(won.mean()) - chance) < 4 * (chance * (1 - chance) / len(won)) ** 0.5
    assert float(torch.cat([loss for loss, _ in results]).mean()) > 3.0  # log(25) = 3.22 at chance


@pytest.mark.parametrize("part", ["denoising", "contrast"])
def test_the_loss_falls(part: str) -> None:
    config = replace(TINY, groups=4, snr=(0.1, 0.1))
    views = source(config.snr, microscopes=1).draw(4, 3, seeded(0))
    torch.manual_seed(0)
    model = MatchedFilter(NETWORK)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    found = []
    for _ in range(20):
        if part == "denoising":
            loss = denoising_loss(clean(model, views, config), views)
        else:
            loss = losses(model, views, config, 1)[0].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.8 * found[0]


def test_the_error_of_the_noise_free_volume_is_0_at_any_scale() -> None:
    views = source((0.1, 0.1)).draw(4, 3, seeded(0))
    with torch.no_grad():
        cleaned = clean(MatchedFilter(NETWORK), views, TINY)
        perfect = replace(cleaned, values=0.1 * cleaned.band.take(to_fourier(views.clean)))
        assert float(denoising_loss(perfect, views)) == pytest.approx(0, abs=1e-5)
        assert 0.1 < float(denoising_loss(cleaned, views)) < 1.0


def test_what_views_hold_beyond_the_clean_volume_has_the_power_of_noise() -> None:
    views = source((0.5, 0.5), 24, microscopes=1).draw(30, 1, seeded(0))
    noise = views.volumes - views.clean
    ratio = views.clean.square().mean(dim=(1, 2, 3)) / noise.square().mean(dim=(1, 2, 3))
    # The working grid leaves out what lies at the Nyquist frequency alone; a tenth are nearly clean.
    assert 0.3 < float(ratio.median()) < 0.9


def test_a_run_resumes_as_if_never_interrupted(tmp_path) -> None:
    config = replace(TINY, steps=5, save_every=2)
    whole = train_matched(config, tmp_path / "whole", structures=blobs(3))

    class StopError(Exception):
        pass

    import gumnet.training.contrast_loop as contrast

    original, calls = contrast.contest, []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise StopError
        return original(*args, **kwargs)

    contrast.contest = failing
    try:
        with pytest.raises(StopError):
            train_matched(config, tmp_path / "parts", structures=blobs(3))
    finally:
        contrast.contest = original
    resumed = train_matched(config, tmp_path / "parts", structures=blobs(3), resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    loaded = load_filter(tmp_path / "parts" / "model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), whole.parameters(), strict=True))
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 5
    assert lines[0].keys() == {"step", "denoising", "seconds"}
    assert lines[-1].keys() == {"step", "denoising", "contrast", "right", "seconds"}


def test_weights_alone_learn_from_the_first_step(tmp_path) -> None:
    """Without a network nothing can learn to remove noise: no step is given to it, and no step lacks a gradient."""
    config = replace(TINY, network=replace(NETWORK, network=False), denoising_steps=2, learning_rate=1e-2)
    found = train_matched(config, tmp_path / "run", structures=blobs(2))
    assert config.noise_steps == 0
    assert replace(config, network=NETWORK).noise_steps == 2
    assert learning_rate(1, config) == learning_rate(1, replace(config, denoising_steps=0))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all("contrast" in line for line in lines)
    assert not found.convolutions
    assert float(found.log_sharpness.detach()) != float(MatchedFilter(config.network).log_sharpness.detach())


def test_another_run_is_not_resumed(tmp_path) -> None:
    train_matched(replace(TINY, steps=1), tmp_path / "run", structures=blobs(2))
    with pytest.raises(InputError, match="mined"):
        train_matched(replace(TINY, steps=1, mined=25), tmp_path / "run", structures=blobs(2), resume=True)


def test_the_learning_rate_rises_and_falls() -> None:
    config = ContrastConfig(steps=150, denoising_steps=50, warmup=0.1, learning_rate=1.0)
    both = [learning_rate(step, config) for step in range(150)]
    assert max(both[:50]) == pytest.approx(1.0)
    assert both[49] < 0.01
    rates = both[50:]
    assert rates[9] == pytest.approx(1.0)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


@pytest.mark.parametrize(
    "wrong", [{"views": 4}, {"views": 1}, {"hard": 200}, {"near_degrees": (40.0, 12.0)}, {"snr": (0.0, 1.0)}]
)
def test_impossible_runs_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        ContrastConfig(**wrong)  # type: ignore[arg-type]
