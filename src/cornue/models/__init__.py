"""LOAD: weights, tokenizers, engines; trimming, pruning and export."""
