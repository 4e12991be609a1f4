"""The network to the number of the paper, at any box, with its ablations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gumnet.errors import InputError
from gumnet.geometry.rigid import matrix_from_euler
from gumnet.model.correlation import correlate
from gumnet.model.extractor import Extractor, normalise_features, pooling_sizes
from gumnet.model.gumnet import PRESETS, GumNet, GumNetConfig, preset, standardise
from gumnet.model.head import PoseHead

TINY = PRESETS["tiny"]


def volumes(n: int, box: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, box, box, box, generator=generator)


def test_paper_has_as_many_parameters_as_the_paper() -> None:
    with torch.device("meta"):
        assert GumNet(PRESETS["paper"]).count_parameters() == 110_067_334


def test_small_fits_a_package_and_tiny_a_test() -> None:
    with torch.device("meta"):
        assert GumNet(PRESETS["small"]).count_parameters() * 2 < 12 * 2**20
        assert GumNet(PRESETS["small"]).count_parameters() > 3_000_000
        assert GumNet(TINY).count_parameters() < 300_000


def test_sizes_at_32_are_those_of_the_paper() -> None:
    assert pooling_sizes(32) == ((30, 26, 22), (24, 18, 15), (16, 12, 10), (10, 8, 7))


@pytest.mark.parametrize("box", range(17, 129))
def test_no_pooling_enlarges(box: int) -> None:
    for size_in, size_out, keep in pooling_sizes(box):
        assert keep < size_out <= size_in
    assert pooling_sizes(box)[-1][1] == 8


def test_smaller_boxes_are_refused() -> None:
    with pytest.raises(InputError, match="use 17 or more"):
        GumNetConfig(box=16)


@pytest.mark.parametrize("box", [17, 24, 32, 33, 40, 45, 48])
@pytest.mark.parametrize("pooling", ["spectral", "max", "average"])
def test_features_end_on_a_map_of_6_at_any_box(box: int, pooling: str, generator: torch.Generator) -> None:
    network = Extractor(box, (2, 2, 2, 2, 4), pooling)  # type: ignore[arg-type]
    features = network(volumes(1, box, generator))
    assert features.shape == (1, 4, 6, 6, 6)
    assert bool(torch.isfinite(features).all())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pooling": "max"},
        {"pooling": "average"},
        {"correlation": "single"},
        {"head": "euler"},
        {"box": 25, "head": "euler", "correlation": "single", "pooling": "max"},
    ],
)
def test_poses_of_every_ablation(changes: dict[str, object], generator: torch.Generator) -> None:
    config = replace(TINY, **changes)  # type: ignore[arg-type]
    network = GumNet(config, generator=generator)
    torch.nn.init.normal_(network.head.last.weight, std=0.5, generator=generator)
    a, b = volumes(3, config.box, generator), volumes(3, config.box, generator)
    rotations, shifts = network(a, b)
    eye = torch.eye(3).expand(3, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, eye, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(3), rtol=0, atol=1e-5)
    assert rotations.shape == (3, 3, 3)
    assert shifts.shape == (3, 3)
    assert bool((shifts.abs() <= config.box / 2).all())
    assert not torch.allclose(rotations, eye, atol=1e-3)
    (rotations.sum() + shifts.sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # Batch norm takes a constant away, so the biases before one have no gradient but rounding.
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_single_correlation_halves_the_branches_and_pooling_costs_nothing() -> None:
    with torch.device("meta"):
        full = GumNet(PRESETS["paper"])
        single = GumNet(replace(PRESETS["paper"], correlation="single"))
        pooled = GumNet(replace(PRESETS["paper"], pooling="max"))
    assert full.count_parameters() - single.count_parameters() == 34_289_664 + 8192 * 2000
    assert pooled.count_parameters() == full.count_parameters()


@pytest.mark.parametrize("head", ["euler", "six"])
def test_every_pair_starts_at_the_identity(head: str, generator: torch.Generator) -> None:
    network = GumNet(replace(TINY, head=head), generator=generator)  # type: ignore[arg-type]
    rotations, shifts = network(volumes(2, 32, generator), volumes(2, 32, generator))
    torch.testing.assert_close(rotations, torch.eye(3).expand(2, 3, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(shifts, torch.zeros(2, 3), rtol=0, atol=1e-6)


def test_euler_head_is_intrinsic_zyz_and_shifts_reach_half_a_box() -> None:
    head = PoseHead(1, 1, "euler", box=32).double()
    head.start_at_identity()
    with torch.no_grad():
        head.last.bias.copy_(torch.tensor([0.3, -0.7, 1.1, 30.0, -30.0, 0.5], dtype=torch.float64))
    rotations, shifts = head(torch.zeros(1, 1, dtype=torch.float64))
    p = torch.sigmoid(torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64))
    expected = matrix_from_euler("ZYZ", p * 360 - 180)
    torch.testing.assert_close(rotations[0], expected, rtol=0, atol=1e-12)
    half = 32 / 2 * (2 * torch.sigmoid(torch.tensor(0.5)).item() - 1)
    torch.testing.assert_close(shifts[0], torch.tensor([16.0, -16.0, half], dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("head", ["euler", "six"])
def test_head_gradcheck(head: str, generator: torch.Generator) -> None:
    layer = PoseHead(4, 5, head, box=20).double()  # type: ignore[arg-type]
    layer.start_at_identity()
    torch.nn.init.normal_(layer.last.weight, std=0.3, generator=generator)
    matched = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (matched,))


def test_correlation_keeps_positions_of_the_second_and_lists_those_of_the_first(generator: torch.Generator) -> None:
    a = normalise_features(torch.randn(2, 7, 6, 6, 6, generator=generator))
    b = normalise_features(torch.randn(2, 7, 6, 6, 6, generator=generator))
    c_ab = correlate(a, b)
    assert c_ab.shape == (2, 216, 6, 6, 6)
    column = torch.stack(
        [(a[1, :, z, y, x] * b[1, :, 2, 0, 5]).sum() for z in range(6) for y in range(6) for x in range(6)]
    )
    torch.testing.assert_close(c_ab[1, :, 2, 0, 5], column / torch.sqrt(column.square().sum() + 1e-6))
    # Before it is normalised, c_ba is c_ab with the two places exchanged.
    raw_ab, raw_ba = a.flatten(2).mT @ b.flatten(2), b.flatten(2).mT @ a.flatten(2)
    torch.testing.assert_close(raw_ab, raw_ba.mT)
    torch.testing.assert_close(correlate(b, a), normalise_features(raw_ab.mT.reshape(2, 216, 6, 6, 6)))


def test_correlation_gradcheck(generator: torch.Generator) -> None:
    a = torch.randn(1, 2, 2, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(1, 2, 2, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, q: correlate(normalise_features(p), normalise_features(q)), (a, b))


def test_scale_and_offset_of_the_input_do_not_matter(generator: torch.Generator) -> None:
    network = GumNet(TINY, generator=generator).eval()
    torch.nn.init.normal_(network.head.last.weight, std=0.5, generator=generator)
    a, b = volumes(2, 32, generator), volumes(2, 32, generator)
    scale = torch.tensor([1e-6, 1e4])[:, None, None, None]
    with torch.no_grad():
        plain, scaled = network(a, b), network(a * scale + 3 * scale, b * 7 - 2)
    torch.testing.assert_close(scaled[0], plain[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(scaled[1], plain[1], rtol=0, atol=1e-3)


def test_standardise_each_volume_and_in_float32(generator: torch.Generator) -> None:
    scale = torch.tensor([1.0, 50.0])[:, None, None, None]
    raw = (volumes(2, 8, generator) * scale + 3).to(torch.float16)
    out = standardise(raw)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.mean(dim=(1, 2, 3)), torch.zeros(2), rtol=0, atol=1e-6)
    torch.testing.assert_close(out.std(dim=(1, 2, 3), correction=0), torch.ones(2), rtol=0, atol=1e-6)
    assert bool((standardise(torch.full((1, 4, 4, 4), 5.0)) == 0).all())


def test_both_volumes_pass_through_the_same_extractor(generator: torch.Generator) -> None:
    network = GumNet(replace(TINY, correlation="single"), generator=generator).eval()
    a, b = volumes(1, 32, generator), volumes(1, 32, generator)
    with torch.no_grad():
        one = correlate(*network.extractor(standardise(torch.cat([a, b]))).chunk(2))
        two = correlate(network.extractor(standardise(a)), network.extractor(standardise(b)))
    torch.testing.assert_close(one, two)


def test_model_for_another_box_says_so(generator: torch.Generator) -> None:
    network = GumNet(TINY, generator=generator)
    with pytest.raises(InputError, match=r"a model for another box: it is for 32 voxels a side, the volumes have 24 x"):
        network(volumes(1, 24, generator), volumes(1, 24, generator))
    with pytest.raises(InputError, match="two stacks of as many volumes"):
        network(volumes(1, 32, generator), volumes(2, 32, generator))


def test_for_box_keeps_the_weights(generator: torch.Generator) -> None:
    network = GumNet(TINY, generator=generator).eval()
    other = network.for_box(24)
    assert other.config.box == 24
    assert not other.training
    assert all(torch.equal(other.state_dict()[k], v) for k, v in network.state_dict().items())
    assert other(volumes(1, 24, generator), volumes(1, 24, generator))[0].shape == (1, 3, 3)


def test_same_generator_same_weights() -> None:
    first, second = (GumNet(TINY, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert all(torch.equal(second.state_dict()[k], v) for k, v in first.state_dict().items())


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="unknown preset 'huge'; use paper, small, tiny"):
        preset("huge", 32)
    with pytest.raises(InputError, match="unknown pooling 'median'; use spectral, max, average"):
        GumNetConfig(pooling="median")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="five channels"):
        GumNetConfig(channels=(1, 2, 3))  # type: ignore[arg-type]


def test_pose_is_float32_under_bfloat16_autocast(generator: torch.Generator) -> None:
    network = GumNet(TINY, generator=generator).eval()
    torch.nn.init.normal_(network.head.last.weight, std=0.3, generator=generator)
    a, b = volumes(2, 32, generator), volumes(2, 32, generator)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rotations, shifts = network(a, b)
    assert rotations.dtype == shifts.dtype == torch.float32
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand(2, 3, 3), rtol=0, atol=1e-5)


def test_paper_runs(generator: torch.Generator) -> None:
    network = GumNet(PRESETS["paper"], generator=generator).eval()
    with torch.no_grad():
        rotations, shifts = network(volumes(1, 32, generator), volumes(1, 32, generator))
    torch.testing.assert_close(rotations[0], torch.eye(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(shifts[0], torch.zeros(3), rtol=0, atol=1e-6)
