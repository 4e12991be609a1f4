"""Contrast transfer and radiation damage of single images, on the half grid of `torch.fft.rfft2`."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def image_frequencies(
    box: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the frequency vectors (N, N // 2 + 1, 2) of an image, (x, y), in cycles per pixel."""
    ky = torch.fft.fftfreq(box, device=device, dtype=dtype)
    kx = torch.fft.rfftfreq(box, device=device, dtype=dtype)
    y, x = torch.meshgrid(ky, kx, indexing="ij")
    return torch.stack([x, y], dim=-1)


def electron_wavelength_angstrom(voltage_kv: float) -> float:
    """Return the relativistic wavelength of electrons in Angstrom; 0.0197 at 300 kV."""
    volts = 1e3 * voltage_kv
    return 12.2643247 / math.sqrt(volts * (1 + 0.978466e-6 * volts))


def ctf(
    box: int,
    voxel_size_angstrom: float,
    defocus_u_angstrom: Tensor,
    defocus_v_angstrom: Tensor | None = None,
    defocus_angle_degrees: Tensor | None = None,
    *,
    voltage_kv: float = 300.0,
    spherical_aberration_mm: float = 2.7,
    amplitude_contrast: float = 0.07,
    phase_shift_degrees: Tensor | None = None,
    scale: Tensor | None = None,
    envelope_frequency: float | None = None,
) -> Tensor:
    """Return the contrast transfer functions (..., N, N // 2 + 1) of images with the given defoci (...).

    The sign is RELION's, for particles that are white on black::

        ctf(k) = scale * sin(pi lambda D(a) k^2 - pi/2 Cs lambda^3 k^4 + phase_shift + asin(amplitude_contrast))
        D(a) = (U + V) / 2 + (U - V) / 2 * cos(2 (a - angle))

    with a the direction of k from the x axis towards y. At k = 0 it is +amplitude_contrast.

    Parameters
    ----------
    box
        Side N of the images in pixels.
    voxel_size_angstrom
        Size of a pixel.
    defocus_u_angstrom, defocus_v_angstrom
        Defocus along the major and the minor axis, shape (...), positive for underfocus. V is U unless given.
    defocus_angle_degrees
        Angle from the x axis to U, shape (...); 0 unless given.
    voltage_kv, spherical_aberration_mm, amplitude_contrast
        Of the microscope.
    phase_shift_degrees
        Of a phase plate, shape (...); 0 unless given.
    scale
        Factor on each image, shape (...), such as the cosine of the tilt; 1 unless given.
    envelope_frequency
        In cycles per pixel: multiplies by ``exp(-(k / envelope_frequency)^2)``; none unless given.
    """
    u = defocus_u_angstrom
    v = u if defocus_v_angstrom is None else defocus_v_angstrom
    angle = torch.zeros_like(u) if defocus_angle_degrees is None else defocus_angle_degrees
    k = image_frequencies(box, device=u.device, dtype=u.dtype)
    k2 = (k**2).sum(-1) / voxel_size_angstrom**2
    direction = torch.atan2(k[..., 1], k[..., 0])

    def per_image(values: Tensor) -> Tensor:
        return values[..., None, None]

    mean, half_difference = per_image(u + v) / 2, per_image(u - v) / 2
    defocus = mean + half_difference * torch.cos(2 * (direction - per_image(torch.deg2rad(angle))))
    wavelength = electron_wavelength_angstrom(voltage_kv)
    aberration = 0.5 * math.pi * 1e7 * spherical_aberration_mm * wavelength**3
    phase = math.pi * wavelength * defocus * k2 - aberration * k2**2 + math.asin(amplitude_contrast)
    if phase_shift_degrees is not None:
        phase = phase + per_image(torch.deg2rad(phase_shift_degrees))
    transfer = torch.sin(phase)
    if scale is not None:
        transfer = transfer * per_image(scale)
    if envelope_frequency is not None:
        transfer = transfer * torch.exp(-(k**2).sum(-1) / envelope_frequency**2)
    return transfer


def dose_weights(box: int, voxel_size_angstrom: float, dose: Tensor) -> Tensor:
    """Return what radiation damage leaves of the signal, (..., N, N // 2 + 1), for accumulated doses (...).

    ``exp(-dose / (2 Nc(k)))`` with the critical exposure ``Nc(k) = 0.245 k^-1.665 + 2.81`` electrons per square
    Angstrom, k in 1 / Angstrom (Grant and Grigorieff, eLife 2015, equations 3 and 5), measured at 300 kV. As in RELION,
    the same at other voltages.
    """
    k = image_frequencies(box, device=dose.device, dtype=dose.dtype).norm(dim=-1) / voxel_size_angstrom
    # At k = 0 the critical exposure is infinite: nothing is lost there.
    critical = 0.245 * k.clamp(min=torch.finfo(dose.dtype).tiny ** 0.25) ** -1.665 + 2.81
    return torch.exp(-0.5 * dose[..., None, None] / critical)
