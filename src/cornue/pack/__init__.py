"""GATHER: the folder that is published."""
