"""A WSGI application that answers every request with the pid of its worker; for gunicorn -w 2 wsgi:app.

DELAY_MS in the environment is how long each answer takes.
"""

import os
import time

DELAY_S = int(os.environ.get("DELAY_MS", "0")) / 1000


def app(environ, start_response):
    time.sleep(DELAY_S)
    body = b"pid %d\n" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
