"""Drivers: they join a protocol machine to a socket and own the tasks that move bytes."""
