"""CHECK: one file per claim that a pack makes."""
