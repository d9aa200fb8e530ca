"""Sans-IO protocol machines: bytes and events in, bytes and events out; no clock, no socket."""
