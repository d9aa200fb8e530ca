"""The command line: `python -m benchmarks race | small | cold | micro`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .lanes import Lane
from .micro import micro
from .peers import PEERS
from .race import race
from .report import Report
from .small import cold, small


def main() -> None:
    """Measure what was asked for, print it, and keep it if told to."""
    chosen = _parser().parse_args()
    for report in _run(chosen):
        print(f"\n{report.command}: {report.settings['what']}\n\n{report.table()}")
        if chosen.save:
            print("\nwritten:", *report.save())


def _run(chosen: Namespace) -> list[Report]:
    if chosen.command == "micro":
        return [micro(chosen.rounds)]
    peers, lanes = chosen.peers.split(","), [Lane(name) for name in chosen.lanes.split(",")]
    if chosen.command == "race":
        return [race(peers, lanes, chosen.rounds, chosen.mebibytes)]
    return (small if chosen.command == "small" else cold)(peers, lanes, chosen.rounds)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("race", "a big file on every lane"),
        ("small", "1 KiB on a warm connection, one at a time and 64 at once"),
        ("cold", "1 KiB by a new client: what a connection costs"),
        ("micro", "nanoseconds of trilane's own building blocks"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--rounds", type=int, default=5, help="default 5")
        command.add_argument("--save", action="store_true", help="write benchmarks/results/")
        if name != "micro":
            command.add_argument("--peers", default=",".join(PEERS), help="default all")
            command.add_argument("--lanes", default=",".join(Lane), help="default all")
        if name == "race":
            command.add_argument("--mebibytes", type=int, default=64, help="default 64")
    return parser


if __name__ == "__main__":
    main()
