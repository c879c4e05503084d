"""MEASURE: teacher, start, student and baselines side by side."""
