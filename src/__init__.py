"""trilane: an upload transport engine for HTTP/1.1, HTTP/2 and HTTP/3."""
