"""gumnet: alignment and averaging of cryo-electron tomography subtomograms."""

__version__ = "0.1.0"
