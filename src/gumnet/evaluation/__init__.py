"""How good poses are when the truth is known."""

from gumnet.evaluation.metrics import (
    PairErrors,
    SetErrors,
    pair_errors,
    rotation_error_degrees,
    rotation_error_frobenius,
    set_errors,
    shift_error,
    shift_error_rounded,
)

__all__ = [
    "PairErrors",
    "SetErrors",
    "pair_errors",
    "rotation_error_degrees",
    "rotation_error_frobenius",
    "set_errors",
    "shift_error",
    "shift_error_rounded",
]
