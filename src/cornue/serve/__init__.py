"""OFFER: a sealed model to the people who use it."""
