# The traps: several sockets in one server, IPv6 with and without IPv4, and sockets that nobody should hold (port 0,
# UDP, unix). Each argument is a socket. A TCP or unix socket answers HTTP with `pid P` and `at ARGUMENT`.
# Usage: listeners.py SOCKET..., where SOCKET is one of these, with options after commas
#   127.0.0.1:8080     [::1]:8080    TCP; port 0 for any. Options: v6only, dual, reuseport, inheritable, mptcp, device=lo
#   udp:127.0.0.1:8080               sends back `pid P`
#   unix:/path                       the file is removed first
#   fd:3                             a listening socket that was handed over
# Says `socket ARGUMENT port PORT` for each, in order, and then `ready pid P`.

import os
import socket
import sys
import threading

IPPROTO_MPTCP = 262


def tcp(address, options):
    host, port = address.rsplit(":", 1)
    ipv6 = host.startswith("[")
    protocol = IPPROTO_MPTCP if "mptcp" in options else 0
    made = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM, protocol)
    if "v6only" in options:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if "dual" in options:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    if "reuseport" in options:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if "inheritable" in options:
        made.set_inheritable(True)
    for option in options:
        if option.startswith("device="):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, option[len("device=") :].encode())
    # getaddrinfo reads a scope, as in fe80::1%lo
    family, *_, at = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    made.bind(at if family == made.family else (host.strip("[]"), int(port)))
    made.listen(64)
    return made


def unix(path):
    if os.path.exists(path):
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    made.listen(64)
    return made


def answer(connection, text):
    request = b""
    while b"\r\n\r\n" not in request:
        got = connection.recv(4096)
        if not got:
            return
        request += got
    body = text.encode()
    head = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    connection.sendall(head.encode() + body)


def serve(listener, text):
    while True:
        connection = listener.accept()[0]
        with connection:
            try:
                answer(connection, text)
            except OSError as error:
                print(error, file=sys.stderr, flush=True)


def echo(bound, text):
    while True:
        _, peer = bound.recvfrom(4096)
        bound.sendto(text.encode(), peer)


threads = []
for argument in sys.argv[1:]:
    address, *options = argument.split(",")
    work = serve
    if address.startswith("udp:"):
        host, port = address[4:].rsplit(":", 1)
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((host, int(port)))
        work = echo
    elif address.startswith("unix:"):
        opened = unix(address[5:])
    elif address.startswith("fd:"):
        opened = socket.socket(fileno=int(address[3:]))
    else:
        opened = tcp(address, options)
    name = opened.getsockname()
    print("socket %s port %s" % (argument, name[1] if isinstance(name, tuple) else "-"), flush=True)
    text = "pid %d\nat %s\n" % (os.getpid(), argument)
    threads.append(threading.Thread(target=work, args=(opened, text), daemon=True))

for thread in threads:
    thread.start()
print("ready pid %d" % os.getpid(), flush=True)
for thread in threads:
    thread.join()
