"""Cornue distils a large language model into a small one that its users own, can check and can serve."""

__version__ = "0.1.0"
