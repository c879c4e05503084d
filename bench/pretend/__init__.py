"""Stand-ins for what Cornue talks to, for tests, proofs and load: an endpoint that fails, an engine that speaks."""
