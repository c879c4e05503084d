"""CHOOSE: what is kept, and what was removed for which reason."""
