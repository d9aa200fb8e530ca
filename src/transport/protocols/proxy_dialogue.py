"""What is said to a proxy before it carries anything, without I/O."""

from __future__ import annotations

from typing import Protocol


class ProxyDialogue(Protocol):
    """One dialogue. It reads exactly what belongs to it, so that what follows is left alone."""

    name: str
    """For the attempt it is in a profile."""

    @property
    def wanted_bytes(self) -> int:
        """How many bytes may be read next; 0: the proxy has consented."""
        ...

    def begin(self) -> bytes:
        """What is sent first."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Take bytes read, no more than wanted; return what is to be sent, perhaps nothing.

        Raises:
            ProxyError: the proxy refused, or does not keep to its protocol.
            ProxyAuthenticationError: it wants other credentials.
        """
        ...
