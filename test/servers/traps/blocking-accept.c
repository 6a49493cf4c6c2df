// The trap: O_NONBLOCK belongs to the socket's open file, which a swapped-in listener shares with its former owner.
// After a non-blocking program has had the port, this one's accept() must still block; on EAGAIN it exits with 1.
// Usage: blocking-accept PORT [HOST]

#include "serve.h"

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  int listener = stream_socket();
  bind_ipv4(listener, argc > 2 ? argv[2] : "127.0.0.1", port);
  must(listen(listener, 16), "listen");
  listening(port);
  serve(listener);
}
