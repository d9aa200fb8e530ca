"""Decisions as pure functions: values in, decisions out; no clock, no socket, no task."""
