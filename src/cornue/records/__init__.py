"""The nouns that every room reads: recipes, prompts, samples, verdicts, digests, errors. No torch, no network."""
