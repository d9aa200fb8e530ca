"""Awaited on asyncio: python examples/await_asyncio.py URL."""

import asyncio
import sys

from trilane import uploadFile


async def main() -> None:
    res = await uploadFile(url=sys.argv[1], filePath=__file__, name="file")
    print(res["statusCode"], res["profile"]["protocol"])


asyncio.run(main())
