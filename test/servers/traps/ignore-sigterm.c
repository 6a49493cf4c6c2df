// The trap: a server that does not stop when it is asked to. Only SIGKILL, after the stop timeout, ends it.
// Usage: ignore-sigterm PORT [HOST]

#include "serve.h"

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  signal(SIGTERM, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  signal(SIGQUIT, SIG_IGN);
  int listener = stream_socket();
  bind_ipv4(listener, argc > 2 ? argv[2] : "127.0.0.1", port);
  must(listen(listener, 16), "listen");
  listening(port);
  serve(listener);
}
