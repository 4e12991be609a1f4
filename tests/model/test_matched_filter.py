"""The learned matched filter: what holds whatever its weights are, and what holds before training."""

from dataclasses import replace

import pytest
import torch

from gumnet.alignment.band import pooled, shell_power, shell_weights
from gumnet.errors import InputError
from gumnet.geometry.fourier import resize, shell_indices, to_fourier
from gumnet.geometry.wedge import missing_wedge
from gumnet.model.matched_filter import (
    MatchedFilter,
    MatchedFilterConfig,
    crop_half,
    load_filter,
    save_filter,
)

SMALL = MatchedFilterConfig(grid=12, channels=4, kernels=(3, 5, 3))


def trained(config: MatchedFilterConfig = SMALL, seed: int = 0) -> MatchedFilter:
    """A filter whose weights are all random, as after training."""
    torch.manual_seed(seed)
    model = MatchedFilter(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model.eval()


def volumes(n: int, box: int, seed: int = 0) -> torch.Tensor:
    """Noise, and something in the middle of it."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.randn(n, box, box, box, generator=generator)
    middle = slice(box // 3, 2 * box // 3)
    out[:, middle, middle, middle] += 2.0
    return out - out.mean(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize("box", [9, 12, 16, 31, 32])
def test_untrained_it_changes_nothing(box: int) -> None:
    x = volumes(2, box)
    with torch.no_grad():
        assert torch.equal(MatchedFilter(SMALL)(x), x)
        assert torch.equal(MatchedFilter(SMALL)(x, missing_wedge(box, 60.0)[None]), x)


def test_untrained_it_weighs_the_shells_as_the_search_does() -> None:
    x, model = volumes(4, 32), MatchedFilter(SMALL)
    power = shell_power(x, None)
    weights = shell_weights(*pooled(power, power))
    with torch.no_grad():
        own = model.power(x)
        assert torch.equal(model.shell_weights(weights, own, own), weights)
        assert model.sharpness(own, own).shape == (4,)
        assert float(model.sharpness(own, own).std()) == 0


@pytest.mark.parametrize("box", [12, 24])
def test_it_commutes_with_shifts(box: int) -> None:
    """By any whole number of points of the working grid, which are box / grid voxels apart; across the edges too."""
    model, x = trained(), volumes(2, box)
    power = model.power(x)  # Given, since the corners that it is read off do not move with the volume.
    shifts = tuple(s * box // SMALL.grid for s in (3, -2, 7))
    with torch.no_grad():
        moved = model(x.roll(shifts, dims=(1, 2, 3)), power=power)
        cleaned = model(x, power=power)
    assert float((cleaned - x).std()) > 0.01
    torch.testing.assert_close(moved, cleaned.roll(shifts, dims=(1, 2, 3)), atol=2e-4, rtol=0)


@pytest.mark.parametrize("box", [10, 13, 20, 32])
def test_any_box(box: int) -> None:
    """Nothing above the filter's shells is touched, whatever the box."""
    model, x = trained(), volumes(2, box)
    with torch.no_grad():
        change = to_fourier(model(x) - x).abs()
    high = shell_indices(box) > SMALL.shells
    assert float(change[:, ~high].amax()) > 0.1
    if bool(high.any()):
        assert float(change[:, high].amax()) < 1e-4 * float(change.amax())


def test_the_same_extent_in_more_voxels_is_cleaned_alike() -> None:
    model, x = trained(), resize(volumes(2, 16), 12)
    fine = resize(x, 36)
    with torch.no_grad():
        torch.testing.assert_close(resize(model(fine), 12), model(resize(fine, 12)), atol=1e-4, rtol=0)


def test_it_writes_nothing_where_nothing_was_observed() -> None:
    model, x = trained(), volumes(2, 24)
    wedge = missing_wedge(24, 50.0)[None]
    with torch.no_grad():
        change = to_fourier(model(x, wedge) - x).abs()
    assert float((change * (1 - wedge)).amax()) < 1e-4 * float(change.amax())


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_scale_of_a_volume_means_nothing(scale: float) -> None:
    model, x = trained(), volumes(2, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(scale * x) / scale, model(x), atol=1e-4, rtol=1e-5)


def test_constant_volumes_stay_finite() -> None:
    with torch.no_grad():
        assert bool(torch.isfinite(trained()(torch.zeros(1, 16, 16, 16))).all())


def test_the_order_of_a_pair_does_not_matter_to_its_weights() -> None:
    model = trained()
    a, b = model.power(volumes(2, 16)), model.power(3 * volumes(2, 16, seed=1))
    weights = torch.ones(2, 9)
    with torch.no_grad():
        torch.testing.assert_close(model.shell_weights(weights, a, b), model.shell_weights(weights, b, a))
        torch.testing.assert_close(model.sharpness(a, b), model.sharpness(b, a))
        corrected = model.shell_weights(weights, a, b)
    assert bool((corrected > 0).all())
    assert torch.equal(corrected[:, SMALL.shells + 1 :], weights[:, SMALL.shells + 1 :])


@pytest.mark.parametrize(("box", "grid"), [(32, 12), (9, 12), (12, 12), (13, 10)])
def test_crop_half_is_what_resize_does_to_spectra(box: int, grid: int) -> None:
    x = volumes(1, box)
    small = to_fourier(resize(x, grid)) * (box / grid) ** 3
    torch.testing.assert_close(crop_half(to_fourier(x), grid) * (box != grid), small * (box != grid), atol=2e-2, rtol=0)


def test_round_trip(tmp_path) -> None:
    model, path = trained(), tmp_path / "matched.safetensors"
    save_filter(path, model)
    loaded = load_filter(path)
    assert loaded.config == model.config
    assert not loaded.training
    x = volumes(1, 16)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


def test_other_files_are_refused(tmp_path) -> None:
    from gumnet.model.gumnet import PRESETS, GumNet
    from gumnet.model.weights import save_model

    with pytest.raises(InputError, match="no such file"):
        load_filter(tmp_path / "none.safetensors")
    other = tmp_path / "model.safetensors"
    save_model(other, GumNet(replace(PRESETS["tiny"], box=32)))
    with pytest.raises(InputError, match="no matched filter"):
        load_filter(other)


@pytest.mark.parametrize("wrong", [{"grid": 15}, {"grid": 4}, {"channels": 0}, {"kernels": (3,)}, {"kernels": (2, 3)}])
def test_impossible_filters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not possible"):
        MatchedFilterConfig(**wrong)  # type: ignore[arg-type]


def test_the_default_is_small_enough_to_ship() -> None:
    assert 4 * sum(p.numel() for p in MatchedFilter().parameters()) < 4 * 2**20
