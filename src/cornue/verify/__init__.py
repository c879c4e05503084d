"""JUDGE: verifiers that first prove themselves."""
