# The trap: the first thread ends and another one serves on. The process is a zombie to those who look at its leader
# only: no files, no command line; what it has is seen through the thread that lives.
# Usage: zombie-leader.py PORT. Says `ready` when it listens and the leader is gone.

import ctypes
import os
import socket
import sys
import threading

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
leader = threading.main_thread().native_id


def serve():
    state = ""
    while not state.startswith("Z"):
        with open("/proc/self/task/%d/stat" % leader) as stat:
            state = stat.read().rpartition(") ")[2]
    print("ready", flush=True)
    while True:
        listener.accept()[0].close()


threading.Thread(target=serve).start()
# This thread alone, at once: sys.exit would wait for the other. CDLL gives Python's lock away before the call.
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
