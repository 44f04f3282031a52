"""Serves localstripe on loopback only and in memory only.

Its own command line listens on every address and writes a file under /tmp after each request.
"""

import sys

from aiohttp import web
from localstripe.resources import store
from localstripe.server import app

type(store).dump_to_disk = lambda _: None
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
