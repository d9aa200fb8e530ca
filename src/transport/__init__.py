"""The engine behind the faces."""
