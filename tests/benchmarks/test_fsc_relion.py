"""The corrected FSC against RELION itself, where it is installed."""

from __future__ import annotations

from shutil import which

import pytest


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.skipif(which("relion_postprocess") is None, reason="relion_postprocess of RELION 3.1 is not on the PATH")
@pytest.mark.parametrize("kind", ["sphere", "auto"])
def test_corrected_fsc_is_that_of_relion(kind: str) -> None:
    from fsc_relion import compare, half_maps, mask_of

    halves = half_maps(64, 0.3, seed=0)
    found = compare(halves, mask_of(kind, halves), draws=8)
    # No chance is in these two. RELION sums the half transform alone; summed so here, too, they are its own.
    assert found.summed_as_relion < 1e-4
    assert found.differences["unmasked"] < 0.02
    assert found.differences["masked"] < 0.02
    # 0.02, and for the few draws that a test has time for three standard errors of their means.
    assert found.differences["corrected"] < 0.02 + 3 * found.standard_error
    assert found.standard_error < 0.02
    here, relion = found.shells
    assert abs(here - relion) <= 1
