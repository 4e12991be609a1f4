"""The learned matched filter: a network that cleans volumes before they are correlated.

The network takes a volume and returns a volume, ``y = m(x) x + b(x)``: at every voxel it may damp what is there, as a
mask does that fits itself to the particle, and add what its surroundings tell. It is made of convolutions with
periodic edges, so it commutes with shifts: cleaned once, a volume can be turned and shifted by a search as any other.
The last convolution starts at 0, where m is 1 and b is 0, so an untrained filter changes nothing, and a search with it
is the plain search. Without the factor m, training is several times slower: a mask is a product.

It sees the low shells of a volume alone, on a working grid of so many points a box whatever the box and its voxels,
each shell scaled to noise of unit variance by what the corners of the box hold; beside it a Wiener filter of it, which
shows where the particle is. What lies beyond those shells passes
unchanged, and where a volume was not observed the filter writes nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gumnet.alignment.band import MODEL_ERROR, ShellPower, shell_power
from gumnet.errors import InputError
from gumnet.geometry.fourier import resize, shell_indices, spread_shells, to_fourier, to_real
from gumnet.io.atomic import write_whole
from gumnet.model.convolution import convolve
from gumnet.model.judge import GRID, Judge
from gumnet.model.weights import FILTER, check_tensors, read_tensors, write_tensors
from gumnet.types import Volumes, Weights

if TYPE_CHECKING:
    from gumnet.alignment.judging import Judging

_TINY = 1e-30
_LEAST_SNR = 0.01
_OURS = "give a file of weights of method matched"
_FIRST_SHARPNESS = 150.0


@dataclass(frozen=True)
class MatchedFilterConfig:
    """The architecture of a matched filter.

    Parameters
    ----------
    grid
        Points a box on each axis of the working grid; shells up to ``grid // 2 - 1`` are cleaned. It is bound to the
        box, not to the voxel size, which alignment is not told: a box is chosen to fit its particle, and what can be
        seen of a particle before it is aligned are its largest features. Shells count: plain correlation puts the true
        rotation of a simulated pair of real complexes (SNR 0.2) above 400 random ones for 0.56 of the pairs with 7
        shells, the 16 points of a grid, and for 0.81 with 11, those of 24.
    channels
        Width of the hidden layers.
    kernels
        Side of the kernel of each convolution, odd; the first takes two channels, the last returns two.
    conditioned
        Whether the hidden layers are scaled and shifted by the signal-to-noise ratios of the shells.
    network, weighted
        Whether the network, and the correction of the shells' weights, are there at all; for ablation.
    judged
        Channels of the network that judges the best poses of a search (`gumnet.model.judge`); 0 for none.
    """

    grid: int = 24
    channels: int = 16
    kernels: tuple[int, ...] = (5, 3, 3, 3, 3, 5)
    conditioned: bool = True
    network: bool = True
    weighted: bool = True
    judged: int = 0

    def __post_init__(self) -> None:
        possible = {
            "grid": self.grid >= 8 and self.grid % 2 == 0,
            "channels": self.channels >= 1,
            "judged": self.judged == 0 or (self.judged > 0 and self.grid >= GRID),
            "kernels": len(self.kernels) >= 2 and all(k % 2 == 1 and 1 <= k < self.grid for k in self.kernels),
        }
        cures = {
            "grid": "give an even number of 8 or more",
            "channels": "give 1 or more",
            "judged": f"give 0 or more, and a grid of {GRID} or more with it",
            "kernels": "give two odd numbers or more, smaller than the grid",
        }
        for name, fits in possible.items():
            if not fits:
                raise InputError(f"{name} = {getattr(self, name)!r} is not possible", cure=cures[name])

    @property
    def shells(self) -> int:
        """Highest shell that is cleaned."""
        return self.grid // 2 - 1


class MatchedFilter(nn.Module):
    """Cleans volumes for correlation, and corrects the weights of their shells.

    Parameters
    ----------
    config
        The architecture.
    """

    def __init__(self, config: MatchedFilterConfig | None = None) -> None:
        super().__init__()
        self.config = MatchedFilterConfig() if config is None else config
        c, k, described = self.config.channels, self.config.kernels, self.config.shells + 1
        widths = [2, *[c] * (len(k) - 1), 2]
        layers = [
            nn.Conv3d(widths[i], widths[i + 1], k[i], padding=k[i] // 2, padding_mode="circular")
            for i in range(len(k) if self.config.network else 0)
        ]
        for layer in layers:
            # So that noise of unit variance keeps its variance from layer to layer.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if layers:
            nn.init.zeros_(layers[-1].weight)
        self.convolutions = nn.ModuleList(layers)
        hidden = len(layers) - 1
        self.condition = _perceptron(described, 2 * c * hidden) if self.config.conditioned and hidden > 0 else None
        self.correction = _perceptron(described, self.config.shells + 1) if self.config.weighted else None
        self.judge = Judge(self.config.judged, described) if self.config.judged else None
        self.half_precision = False
        """Whether the convolutions run in bfloat16 in place of float32; no part of the weights."""
        self.log_sharpness = nn.Parameter(torch.tensor(_FIRST_SHARPNESS).log())

    def power(self, volumes: Volumes, transfer: Weights | None = None) -> ShellPower:
        """Return signal and noise of the shells 0 ... grid // 2 of volumes, (n, grid // 2 + 1), see `shell_power`.

        Parameters
        ----------
        volumes
            Shape (n, N, N, N), of white noise wherever they were observed in the sense of `gumnet.alignment.score`.
        transfer
            Shape (n or 1, N, N, N // 2 + 1), or None where everything was observed.
        """
        grid = self.config.grid
        return shell_power(resize(volumes, grid), None if transfer is None else crop_half(transfer, grid))

    def forward(self, volumes: Volumes, transfer: Weights | None = None, power: ShellPower | None = None) -> Volumes:
        """Return cleaned volumes (n, N, N, N), on the scale of ``volumes``.

        Parameters
        ----------
        volumes, transfer
            As in `power`.
        power
            That of the volumes, where it is at hand.
        """
        if not self.config.network:
            return volumes
        box, grid = volumes.shape[-1], self.config.grid
        power = self.power(volumes, transfer) if power is None else power
        # Noise of unit variance in each shell. Where noise is all but absent its place is taken by the model's error.
        noise = power.noise + MODEL_ERROR * power.signal
        scale = torch.where(noise > 0, noise / grid**3, torch.ones_like(noise)).sqrt()
        # Shell 0 is the mean: no score counts it, and its noise is rounding alone.
        shell = shell_indices(grid, device=volumes.device)
        low = (shell >= 1) & (shell <= self.config.shells)
        to_unit = spread_shells(scale.reciprocal(), grid) * low
        small = to_fourier(resize(volumes, grid)) * to_unit
        seen = torch.stack([to_real(small, grid), to_real(small * spread_shells(_wiener(power), grid), grid)], dim=1)
        kind = seen.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.half_precision or torch.is_autocast_enabled(kind)):
            small = self._network(seen, power)
        added = to_fourier(small) * (spread_shells(scale, grid) * low)
        if transfer is not None:
            added = added * (crop_half(transfer, grid) > 0)
        return volumes + resize(to_real(added, grid), box)

    def shell_weights(self, weights: Tensor, a: ShellPower, b: ShellPower) -> Tensor:
        """Return the search's weights of shells 0 ... N // 2, (n, N // 2 + 1), corrected for what the filter does.

        Parameters
        ----------
        weights
            As `gumnet.alignment.band.shell_weights` gives them.
        a, b
            What `power` gives for reference and particles, as they were before they were cleaned; n or 1 rows.
        """
        if self.correction is None:
            return weights
        logs = self._pair(a, b)[:, :-1]
        count = min(logs.shape[1], weights.shape[1] - 1)
        factor = torch.nn.functional.pad(logs[:, :count].exp(), (1, weights.shape[1] - 1 - count), value=1.0)
        return weights * factor

    def sharpness(self, a: ShellPower, b: ShellPower) -> Tensor:
        """Return by how much to multiply scores of pairs to get log likelihoods, (n,); arguments as above."""
        n = max(len(a.signal), len(b.signal))
        if self.correction is None:
            return self.log_sharpness.exp().expand(n)
        return (self.log_sharpness + self._pair(a, b)[:, -1]).exp().expand(n)

    def _pair(self, a: ShellPower, b: ShellPower) -> Tensor:
        assert self.correction is not None
        logs: Tensor = self.correction(self.described(a)) + self.correction(self.described(b))
        return logs

    def described(self, power: ShellPower) -> Tensor:
        """Return what the network is told of volumes, log signal-to-noise of shells and the whole, (n, grid // 2)."""
        keep = slice(1, self.config.shells + 1)
        signal, noise = power.signal[:, keep], power.noise[:, keep]
        whole = signal.sum(-1, keepdim=True) / noise.sum(-1, keepdim=True).clamp_min(_TINY)
        ratio = torch.cat([signal / noise.clamp_min(_TINY), whole], dim=1)
        # Between -4.6 and 4.6, halved to be of the order of 1.
        return ratio.clamp(_LEAST_SNR, 1 / _LEAST_SNR).log() / 2

    def judging(self, a: ShellPower, b: ShellPower) -> Judging | None:
        """Return what judges poses of pairs of such volumes, if there is a judge; rows as in `shell_weights`."""
        if self.judge is None:
            return None
        from gumnet.alignment.judging import Judging

        return Judging(self.judge, self.described_pairs(a, b), self.config.shells, self.half_precision)

    def described_pairs(self, a: ShellPower, b: ShellPower) -> Tensor:
        """Return what is told of pairs of such volumes, (n, grid); n or 1 rows each."""
        told = self.described(a), self.described(b)
        n = max(map(len, told))
        return torch.cat([each.expand(n, -1) for each in told], dim=1)

    def _network(self, seen: Tensor, power: ShellPower) -> Volumes:
        """Return what to add to volumes of noise of unit variance, ``(m(x) - 1) x + b(x)``, (n, M, M, M).

        Parameters
        ----------
        seen
            The volumes and their Wiener filter, (n, 2, M, M, M).
        """
        n, c = len(seen), self.config.channels
        hidden = seen
        turns = None if self.condition is None else self.condition(self.described(power)).view(n, -1, 2, c, 1, 1, 1)
        for i, convolution in enumerate(self.convolutions):
            hidden = convolve(convolution, hidden)
            if i < len(self.convolutions) - 1:
                if turns is not None:
                    hidden = torch.addcmul(turns[:, i, 1].to(hidden), hidden, 1 + turns[:, i, 0].to(hidden))
                hidden = torch.nn.functional.relu(hidden)
        factor, added = hidden.to(seen.dtype).unbind(1)
        # m between 0 and 2, and 1 at the start.
        return seen[:, 0] * (2 * torch.sigmoid(factor) - 1) + added


def _wiener(power: ShellPower) -> Tensor:
    """Return the Wiener filter of shells, ``S / (S + N)``, scaled so that it leaves volumes about unit variance."""
    signal, noise = power.signal, power.noise + MODEL_ERROR * power.signal
    gain = (signal + _LEAST_SNR * noise) / (signal + noise).clamp_min(_TINY)
    size = torch.arange(gain.shape[-1], device=gain.device, dtype=gain.dtype) ** 2
    left: Tensor = (gain.square() * (1 + signal / noise.clamp_min(_TINY)) * size).sum(-1, keepdim=True) / size.sum()
    return gain / left.clamp_min(_TINY).sqrt()


def crop_half(values: Tensor, grid: int) -> Tensor:
    """Return values (..., N, N, N // 2 + 1) on the half layout of another box, zero where N had no such frequency.

    The Nyquist frequency of the smaller box is left out, as `gumnet.geometry.fourier.resize` does.
    """
    old = values.shape[-2]
    if old == grid:
        return values
    keep = (min(old, grid) - 1) // 2
    target = values.new_zeros(*values.shape[:-3], grid, grid, grid // 2 + 1)
    index = torch.arange(-keep, keep + 1, device=values.device)
    new = (index % grid)[:, None], (index % grid)[None, :], slice(0, keep + 1)
    target[..., new[0], new[1], new[2]] = values[..., (index % old)[:, None], (index % old)[None, :], : keep + 1]
    return target


def save_filter(path: str | Path, model: MatchedFilter, *, overwrite: bool = False) -> None:
    """Write a matched filter to a safetensors file, its architecture in the header."""
    with write_whole(path, overwrite=overwrite) as temporary:
        write_tensors(temporary, model.state_dict(), {FILTER: json.dumps(asdict(model.config))})


def load_filter(path: str | Path) -> MatchedFilter:
    """Return the matched filter of a file that `save_filter` wrote, on the CPU and in evaluation mode.

    Raises
    ------
    InputError
        If the file is missing, is no such file, or does not hold the weights that its header promises.
    """
    tensors, header = read_tensors(path)
    if FILTER not in header:
        raise InputError("holds no matched filter", cure=_OURS, path=path)
    model = MatchedFilter(_config_from_json(header[FILTER], path))
    check_tensors(tensors, model.state_dict(), path)
    model.load_state_dict(tensors)
    return model.eval()


def _config_from_json(text: str, path: str | Path) -> MatchedFilterConfig:
    try:
        values: dict[str, Any] = json.loads(text)
        unknown = sorted(set(values) - {f.name for f in fields(MatchedFilterConfig)})
        if unknown:
            raise InputError(f"unknown field {unknown[0]!r} in the filter's description", cure=_OURS, path=path)
        return MatchedFilterConfig(**{**values, "kernels": tuple(values["kernels"])})
    except InputError as error:
        raise InputError(error.problem, cure=error.cure, path=path) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"the filter's description cannot be read ({error})", cure=_OURS, path=path) from None


def _perceptron(inputs: int, outputs: int, hidden: int = 32) -> nn.Sequential:
    """Return a perceptron of one hidden layer that starts at 0."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), last)
