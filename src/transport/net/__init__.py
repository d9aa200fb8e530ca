"""Sockets: byte streams, datagrams, names, TLS. Knows no HTTP."""
