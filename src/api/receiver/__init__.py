"""The built-in receiver: a small HTTP/1.1, h2 and h3 server to try uploads against.

It runs in a process of its own (`process.py` starts it, `__main__.py` is it), answers every request
with what it received (`app.py`), and misbehaves on request (`switches.py`). It needs the extra
`cli`; nothing in the engine imports it.
"""
