// The trap: the process that was started exits with 0 at once while its grandchild, in a session of its own and
// reparented, serves. Taking that exit for the end of the server starts another copy, and another.
// Usage: daemonize PORT [HOST]

#include "serve.h"

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  if (must(fork(), "fork") > 0) _exit(0);
  must(setsid(), "setsid");
  if (must(fork(), "fork") > 0) _exit(0);
  int listener = stream_socket();
  bind_ipv4(listener, argc > 2 ? argv[2] : "127.0.0.1", port);
  must(listen(listener, 16), "listen");
  listening(port);
  serve(listener);
}
