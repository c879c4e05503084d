"""SHIELD: finds personal data before anything leaves the machine."""
