"""TELL: the page that people read, from lineage."""
