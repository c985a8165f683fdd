"""The package's version, which `setup.cfg` reads here, and every checkpoint says."""

__version__ = "0.1.0"
