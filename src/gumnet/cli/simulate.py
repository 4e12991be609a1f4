"""``gumnet simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gumnet.cli.options import COMMON, OUTPUT, Common, Flag, Output, say
from gumnet.errors import InputError


def simulate(
    *structures: Path,
    out: Path,
    pairs: int | None = None,
    particles: int | None = None,
    snr: float = 0.1,
    box: int = 32,
    voxel_size: float = 12.0,
    tilt_max: float = 60.0,
    defocus: float = 2.0,
    max_shift: float = 6.4,
    sub_voxel_shifts: Flag = False,
    noise: Literal["coloured", "white"] = "coloured",
    model: Literal["fourier", "tilt-series"] = "fourier",
    wedge: Literal["b", "both"] = "b",
    tilt_step: float = 3.0,
    no_ctf: Flag = False,
    ctf_in_weights: Flag = False,
    voltage: float = 300.0,
    spherical_aberration: float = 2.7,
    amplitude_contrast: float = 0.07,
    envelope: float = 0.4,
    phantoms: int = 5,
    phantom_seed: int = 0,
    map_voxel_size: float | None = None,
    common: Common = COMMON,
    output: Output = OUTPUT,
) -> None:
    """Make subtomograms of known structure and pose, as pairs or as one set.

    Example
        gumnet simulate --out sim --particles 100 --snr 0.3
        gumnet simulate ribosome.cif.gz other.mrc --out pairs --pairs 200

    OUT gets particles.star, volumes.mrcs, weights and, for pairs, pairs.csv. The
    truth is in truth.star and truth_structures/, and nowhere else.

    Parameters
    ----------
    structures
        Structures to simulate: atoms (PDB, mmCIF) or maps (MRC); the built-in phantoms unless given.
    out
        Folder to write.
    pairs
        How many pairs to make; each holds two particles of one structure.
    particles
        How many particles to make.
    snr
        Signal-to-noise ratio: variance of the signal over variance of the noise in the final volume.
    box
        Side of the box in voxels.
    voxel_size
        Voxel size in Angstrom.
    tilt_max
        End of the tilt range in degrees, on both sides.
    defocus
        Defocus in micrometres.
    max_shift
        Largest shift on each axis in voxels.
    sub_voxel_shifts
        Shift by any amount, not by whole voxels as in the paper.
    noise
        Half of it through the CTF and half low-passed (coloured), or white.
    model
        A fast model in Fourier space, or a true tilt series that is projected and reconstructed.
    wedge
        For pairs: missing wedge in the second particle only, as in the paper, or in both.
    tilt_step
        With --model tilt-series: degrees between tilts.
    no_ctf
        No CTF and no envelope, on signal and noise.
    ctf_in_weights
        Multiply by the CTF once more, with its square as weights, as RELION 3.1
        expects: the table's CTF file holds the CTF, its square is the weight.
    voltage
        Of the microscope, in kV.
    spherical_aberration
        Of the microscope, in mm.
    amplitude_contrast
        Share of amplitude contrast, 0 to 1.
    envelope
        The CTF is damped to 1/e at this part of Nyquist.
    phantoms
        How many built-in structures to use where no STRUCTURE is given.
    phantom_seed
        Seed of the first built-in structure.
    map_voxel_size
        Voxel size in Angstrom of maps whose header does not hold it.
    """
    if (pairs is None) == (particles is None):
        raise InputError("give one of --pairs and --particles", cure="for example --particles 100")
    common.start()
    from gumnet.io.atomic import check_free_folder
    from gumnet.simulation.config import SimulationConfig
    from gumnet.simulation.dataset import simulate as run
    from gumnet.simulation.folder import write_simulation
    from gumnet.simulation.structure import from_files

    check_free_folder(out, overwrite=output.overwrite)
    config = SimulationConfig(
        snr=snr,
        box=box,
        voxel_size_angstrom=voxel_size,
        tilt_max_degrees=tilt_max,
        defocus_um=defocus,
        max_shift=max_shift,
        whole_voxel_shifts=not sub_voxel_shifts,
        noise=noise,
        model=model,
        wedge=wedge,
        ctf=not no_ctf,
        ctf_in_weights=ctf_in_weights,
        tilt_step_degrees=tilt_step,
        voltage_kv=voltage,
        spherical_aberration_mm=spherical_aberration,
        amplitude_contrast=amplitude_contrast,
        envelope_of_nyquist=envelope,
        phantoms=phantoms,
        phantom_seed=phantom_seed,
        seed=common.first_seed,
    )
    densities = None
    if structures:
        densities = from_files(structures, box, voxel_size, map_voxel_size_angstrom=map_voxel_size)
    made = run(densities, pairs=pairs, particles=particles, config=config)
    write_simulation(out, made, overwrite=output.overwrite)
    kinds = f"{len(made.structures)} structure{'' if len(made.structures) == 1 else 's'}"
    say(f"{len(made.particles)} particles of {kinds} at SNR {snr:g}: {out}")
