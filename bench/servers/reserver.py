# The method of ephemeral-port-reserve, as reserver.js: python3 reserver.py COUNT. Its connection ends at once, and leaves the
# port in TIME_WAIT.
import json, socket, sys, time


def reserve():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(('127.0.0.1', 0))
        listener.listen(1)
        address = listener.getsockname()
        with socket.socket() as client:
            client.connect(address)
            accepted, _ = listener.accept()
            with accepted:
                return address[1]


def listen(port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(('', port))
    server.listen()
    return server


print('ready', flush=True)
sys.stdin.readline()
ports, us = [], []
for _ in range(int(sys.argv[1])):
    begun = time.perf_counter()
    try:
        ports.append(reserve())
    except OSError:
        pass  # counted by what is missing
    us.append((time.perf_counter() - begun) * 1e6)
print(json.dumps({'ports': ports, 'us': us}), flush=True)
sys.stdin.readline()
listening = []
for port in ports:
    try:
        listening.append(listen(port))
    except OSError:
        pass  # likewise
print(json.dumps({'listening': len(listening)}), flush=True)
sys.stdin.readline()
