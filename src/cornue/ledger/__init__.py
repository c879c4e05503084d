"""COUNT: an append-only, hash-chained record of what every act cost."""
