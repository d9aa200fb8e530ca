"""Uploads made by libcurl in a namespace, and the times it gives for them.

Run as `python -m tests.link.curl_uploads PLAN`, where PLAN is a `Plan` in JSON; prints a list of
`CurlTimes` in JSON.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict, dataclass

import pycurl

from tests.link.namespaces import Namespace
from tests.link.uploads import Job, Plan, Protocol, body_of

_VERSIONS: dict[Protocol, int] = {
    "http/1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "h2": pycurl.CURL_HTTP_VERSION_2TLS,
    "h3": 31,  # CURL_HTTP_VERSION_3ONLY
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CurlTimes:
    """CURLINFO_*_TIME_T: microseconds since the transfer began; 0 where nothing happened."""

    namelookup_us: int
    connect_us: int
    appconnect_us: int
    pretransfer_us: int
    posttransfer_us: int
    starttransfer_us: int
    total_us: int
    new_connections: int


def curl_uploads(host: Namespace, plan: Plan) -> list[CurlTimes]:
    """Carry out a plan in a fresh process inside a namespace; there is no event loop to choose."""
    output = host.python("tests.link.curl_uploads", json.dumps(asdict(plan)))
    return [CurlTimes(**answer) for answer in json.loads(output)]


def _carry_out(plan: Plan) -> list[CurlTimes]:
    seen: list[CurlTimes] = []
    handle = pycurl.Curl()
    for job in plan.jobs:
        if job.new_client:
            handle.close()
            handle = pycurl.Curl()
        seen.append(_upload(handle, job, plan))
    handle.close()
    return seen


def _upload(handle: pycurl.Curl, job: Job, plan: Plan) -> CurlTimes:
    handle.reset()
    body = body_of(job.body_bytes)
    handle.setopt(pycurl.URL, job.url)
    handle.setopt(pycurl.CAINFO, plan.ca)
    handle.setopt(pycurl.HTTP_VERSION, _VERSIONS[job.protocol])
    handle.setopt(pycurl.UPLOAD, 1)
    handle.setopt(pycurl.CUSTOMREQUEST, "POST")
    handle.setopt(pycurl.READFUNCTION, io.BytesIO(body).read)
    handle.setopt(pycurl.INFILESIZE_LARGE, len(body))
    handle.setopt(pycurl.HTTPHEADER, ["Expect:"])
    handle.setopt(pycurl.WRITEDATA, io.BytesIO())
    handle.setopt(pycurl.TIMEOUT_MS, round(plan.timeout_s * 1000))
    handle.perform()
    return CurlTimes(
        namelookup_us=handle.getinfo(pycurl.NAMELOOKUP_TIME_T),
        connect_us=handle.getinfo(pycurl.CONNECT_TIME_T),
        appconnect_us=handle.getinfo(pycurl.APPCONNECT_TIME_T),
        pretransfer_us=handle.getinfo(pycurl.PRETRANSFER_TIME_T),
        posttransfer_us=handle.getinfo(pycurl.POSTTRANSFER_TIME_T),
        starttransfer_us=handle.getinfo(pycurl.STARTTRANSFER_TIME_T),
        total_us=handle.getinfo(pycurl.TOTAL_TIME_T),
        new_connections=handle.getinfo(pycurl.NUM_CONNECTS),
    )


def main() -> None:
    """Carry out the plan on the command line."""
    description = json.loads(sys.argv[1])
    jobs = tuple(Job(**job) for job in description.pop("jobs"))
    plan = Plan(jobs=jobs, **description)
    sys.stdout.write(json.dumps([asdict(times) for times in _carry_out(plan)]))


if __name__ == "__main__":
    main()
