"""The command line: `python -m benchmarks race | small | cold | link | micro`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from .lanes import Lane
from .micro import micro
from .peers import PEERS
from .race import race
from .report import Report
from .small import cold, small


def main() -> None:
    """Measure what was asked for, print it, and keep it if told to."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        os.environ.pop(name, None)  # every peer would obey, and nothing be measured
    chosen = parser().parse_args()
    for report in _run(chosen):
        tcp = report.settings.get("tcp_congestion_control", "")
        tcp = f"; TCP with {tcp}" if isinstance(tcp, str) and tcp else ""
        print(f"\n{report.command}: {report.settings['what']}{tcp}\n\n{report.table()}")
        if chosen.save or chosen.add:
            print("\nwritten:", *report.save(add=chosen.add))


def parser() -> ArgumentParser:
    """What may be asked for."""
    arguments = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = arguments.add_subparsers(dest="command", required=True)
    for name, text in (
        ("race", "a big file on every lane"),
        ("small", "1 KiB on a warm connection, one at a time and 64 at once"),
        ("cold", "1 KiB by a new client: what a connection costs"),
        ("link", "a file over an emulated link (Linux, root)"),
        ("micro", "nanoseconds of trilane's own building blocks"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--rounds", type=int, default=5, help="default 5")
        command.add_argument("--save", action="store_true", help="write benchmarks/results/")
        command.add_argument(
            "--add", action="store_true", help="the same, but keep other lanes' that are alike"
        )
        if name != "micro":
            command.add_argument("--peers", default=",".join(PEERS), help="default all")
            command.add_argument("--lanes", default=",".join(Lane), help="default all")
        if name in {"race", "link"}:
            size = 64 if name == "race" else 8
            command.add_argument("--mebibytes", type=int, default=size, help=f"default {size}")
        if name == "race":
            tcp = "of TCP, for all peers (Linux, root), default cubic; `system` leaves it alone"
            command.add_argument("--congestion-control", default="cubic", help=tcp)
            pinned = "keep clients and receiver on different processors (Linux)"
            command.add_argument("--pinned", action="store_true", help=pinned)
        if name == "link":
            _add_conditions(command)
    return arguments


def _add_conditions(command: ArgumentParser) -> None:
    add = command.add_argument
    add("--megabits", type=float, default=50, help="rate of the link in Mbit/s, default 50")
    add("--round-trip", type=float, default=50, help="its round trip in ms, default 50")
    add("--loss", default="0,1", help="packets lost, in percent, one run each; default 0,1")
    text = "of TCP, set on each socket where a peer permits it; default cubic, as QUIC's"
    add("--congestion-control", default="cubic", help=text)


def _run(chosen: Namespace) -> list[Report]:
    if chosen.command == "micro":
        return [micro(chosen.rounds)]
    peers, lanes = chosen.peers.split(","), [Lane(name) for name in chosen.lanes.split(",")]
    if chosen.command == "race":
        return [
            race(
                peers,
                lanes,
                chosen.rounds,
                chosen.mebibytes,
                congestion_control=chosen.congestion_control,
                pinned=chosen.pinned,
            )
        ]
    if chosen.command == "link":
        from .link import Conditions, link  # noqa: PLC0415 - only this one needs the tests' tools

        conditions = Conditions(
            megabits_per_s=chosen.megabits,
            round_trip_ms=chosen.round_trip,
            losses_percent=tuple(float(each) for each in chosen.loss.split(",")),
            congestion_control=chosen.congestion_control,
        )
        return [link(peers, lanes, chosen.rounds, chosen.mebibytes, conditions)]
    return (small if chosen.command == "small" else cold)(peers, lanes, chosen.rounds)


if __name__ == "__main__":
    main()
