"""SPAR's tasks as numbers, before there is a sentence. `relations` says what left, above and closer mean."""
