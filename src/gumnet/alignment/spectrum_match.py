"""How much of each shell of a map from elsewhere particles show.

A map of atoms, or one that was sharpened, falls off with frequency otherwise than what a microscope shows of it, and
one noisy particle does not say how. Taken as it is, such a map makes fine shells count that particles do not have.
How much of each shell they have says the regression of many particles on the map at poses that are about right:

    h(k) = sum Re(A conj(X)) c / sum |A|^2 c^2,

over the coefficients of shell k of all particles X, with A the map at the pose of each, and c what acts on the signal.
The map times h is then what a particle shows. The map itself stays as it is: multiplied by h and then by a mask, what
the mask spreads of its low shells would drown its high ones; h goes into the weights of the shells.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gumnet.alignment.band import Band
from gumnet.alignment.score import Comparison, phases, read_at
from gumnet.alignment.spectrum import as_complex
from gumnet.particles import Poses

LEAST_SIGNIFICANCE = 3.0
"""The first shell whose h is less than so many times its error ends the band: from there on all is taken as noise."""
_AT_ONCE = 16


def amplitudes(comparison: Comparison, poses: Poses, counts: Tensor) -> Tensor:
    """Return h for shells 0 ... N // 2, (N // 2 + 1,), 0 in shells of which particles show nothing.

    Parameters
    ----------
    comparison
        n particles and their reference.
    poses
        Of each, shifts from the centre of its box.
    counts
        How much each counts, (n,): how sure its pose is.
    """
    box, device = comparison.box, comparison.reference.device
    band = Band.up_to(box, (box - 1) // 2, device)
    even = replace(comparison, shell_weights=torch.ones_like(comparison.shell_weights))
    data, turned = even.within(band), even.turned_reference(band.shells)
    rotations, shifts = poses.rotations.to(device, torch.float32), poses.shifts.to(device, torch.float32)
    above, below, error = (torch.zeros(box // 2 + 1, dtype=torch.float64, device=device) for _ in range(3))
    for rows in torch.split(torch.arange(len(comparison), device=device), _AT_ONCE):
        values, transfer = read_at(turned.of_rows(rows), rotations[rows, None], band)
        model = (as_complex(values) * phases(band, shifts[rows, None]))[:, 0]
        model = model if transfer is None else model * transfer[:, 0]
        some, count = data[rows], counts[rows.cpu()].to(device, torch.float64)[:, None]
        power = model.abs().square()
        above.index_add_(0, band.shell, (count * (model * some.matched).real).sum(dim=0))
        below.index_add_(0, band.shell, (count * power * some.transfer_power).sum(dim=0))
        # Half of the noise of a coefficient is in phase with the model.
        error.index_add_(0, band.shell, (count**2 * power * some.matched.abs().square()).sum(dim=0) / 2)
    shown = above > LEAST_SIGNIFICANCE * error.sqrt()
    shown[0] = True
    found = torch.where(shown.int().cumprod(dim=0).bool(), above / below.clamp_min(1e-30), 0.0)
    return found.float().cpu()
