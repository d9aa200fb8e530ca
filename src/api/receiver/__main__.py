"""The receiver's own process: `python -m trilane.api.receiver`.

It prints one line of JSON, the fields of `ReceiverAddress`, when it accepts connections, and runs
until SIGINT or SIGTERM. `process.py` is the other end.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from .address import ReceiverAddress
from .server import run_receiver


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m trilane.api.receiver")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cleartext-port", type=int)
    parser.add_argument("--trio", action="store_true")
    parser.add_argument("--stop-with-stdin", action="store_true")
    options = parser.parse_args()
    run_receiver(
        _announce,
        port=options.port,
        cleartext_port=options.cleartext_port,
        backend="trio" if options.trio else "asyncio",
        stop_with_stdin=options.stop_with_stdin,
    )


def _announce(address: ReceiverAddress) -> None:
    sys.stdout.write(json.dumps(asdict(address)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
