"""LEARN: one loop, one short file per method."""
