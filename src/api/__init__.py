"""The faces of trilane: thin, without protocol knowledge."""
