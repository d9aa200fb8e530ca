"""The one place that touches a private name of h11; `tests/http1/test_h11_canary.py` guards it."""

from __future__ import annotations

import h11


def unparsed_bytes(connection: h11.Connection) -> int:
    """How many received bytes h11 has not made an event of yet.

    The public `trailing_data` copies them all; asked after every event, as byte counts need it,
    that is quadratic in what a hostile peer sends as tiny chunks.
    """
    return len(connection._receive_buffer)  # noqa: SLF001 - see above
