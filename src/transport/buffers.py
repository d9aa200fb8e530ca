"""What counts as bytes inside the engine: passed through untouched, never copied by slicing."""

Buffer = bytes | bytearray | memoryview
