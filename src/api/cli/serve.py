"""`trilane serve`: the built-in receiver in the foreground."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .arguments import ServeArguments
from .extra import require_receiver
from .screen import complain, say
from .status import Status

if TYPE_CHECKING:
    from ..receiver.address import ReceiverAddress


def run_serve(arguments: ServeArguments) -> Status:
    """Serve until Ctrl-C or SIGTERM, which is how it ends well.

    Raises:
        ExtraMissing: the receiver's packages are not installed.
    """
    require_receiver()
    from ..receiver import server  # noqa: PLC0415 - part of an extra

    _log_requests(server.__package__)
    try:
        server.run_receiver(
            _announce,
            port=arguments.port,
            cleartext_port=arguments.cleartext_port,
            backend=arguments.backend,
        )
    except OSError as exc:
        complain(f"cannot listen: {exc.strerror or exc}")
        return Status.FAILED
    return Status.OK


def _log_requests(package: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger(package)
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def _announce(address: ReceiverAddress) -> None:
    say(f"Receiving on {address.url} (HTTP/1.1, h2 and h3)")
    if address.cleartext_port is not None:
        say(f"and on http://localhost:{address.cleartext_port}/ (HTTP/1.1, and h2 if you know it)")
    say(f"The authority behind its throw-away certificate: {address.ca_path}")
    say(f"    trilane upload {address.url} FILE --cacert {address.ca_path}")
    say(f"    curl --cacert {address.ca_path} -F file=@FILE {address.url}")
    say("`trilane serve --help` lists the query parameters it obeys. Ctrl-C stops it.")
