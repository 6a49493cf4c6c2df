# So many processes, each with a listener of its own, on consecutive ports; says `ready` and stays until it is killed:
#   python3 listeners.py FIRST_PORT COUNT
# SIGTERM ends them all.

import os
import signal
import socket
import sys

first, count = int(sys.argv[1]), int(sys.argv[2])
children = []
for index in range(count):
    listener = socket.socket()
    listener.bind(("127.0.0.1", first + index))
    listener.listen(8)
    pid = os.fork()
    if pid == 0:
        signal.pause()
    children.append(pid)
    listener.close()


def end(*_):
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    signal.pause()
