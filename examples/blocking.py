"""A plain script: python examples/blocking.py URL."""

import sys

import trilane

with trilane.Client() as client:
    for number in (1, 2):
        response = client.upload(sys.argv[1], __file__, form={"number": number})
        print(response.status_code, response.profile.socket_reused)
