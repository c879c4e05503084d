"""ASK: a teacher's answers and distributions, taken once."""
