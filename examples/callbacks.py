"""Callbacks only, as on the original platforms: python examples/callbacks.py URL."""

import sys

from trilane import uploadFile

task = uploadFile(
    {"url": sys.argv[1], "filePath": __file__, "name": "file", "formData": {"user": "test"}},
    success=lambda res: print("success", res["statusCode"], res["data"]),
    fail=lambda error: print("fail", error["errMsg"]),
    complete=lambda res: print("complete", res["errMsg"]),
)
task.onProgressUpdate(lambda at: print(at["progress"], "%"))
