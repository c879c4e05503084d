"""BIND: manifests, signatures, keys and folders that are written once and read by digest."""
