"""Awaited on trio: python examples/await_trio.py URL."""

import sys

import trio

from trilane import uploadFile


async def main() -> None:
    print((await uploadFile(url=sys.argv[1], filePath=__file__, name="file"))["data"])


trio.run(main)
