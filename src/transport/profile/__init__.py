"""Moments are recorded where they happen; a profile is a pure fold over them."""
