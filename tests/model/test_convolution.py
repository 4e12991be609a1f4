"""Convolutions in another order of their products."""

import pytest
import torch

from gumnet.devices import seeded
from gumnet.model.convolution import convolve


@pytest.mark.parametrize(("inputs", "outputs", "kernel"), [(2, 16, 5), (8, 8, 3), (16, 2, 5), (3, 1, 3), (4, 2, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_layer(inputs: int, outputs: int, kernel: int, bias: bool) -> None:
    """Values and gradients are those of the layer itself, with periodic edges."""
    torch.manual_seed(0)
    layer = torch.nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="circular", bias=bias).double()
    volumes = torch.randn(2, inputs, 8, 8, 8, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    found, expected = convolve(layer, volumes), layer(volumes)
    torch.testing.assert_close(found, expected)
    for got, wanted in zip(
        torch.autograd.grad(found.square().sum(), (volumes, layer.weight)),
        torch.autograd.grad(expected.square().sum(), (volumes, layer.weight)),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)
