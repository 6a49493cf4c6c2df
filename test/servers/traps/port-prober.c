// The trap: a port finder. Like Vite 8 with --host 127.0.0.1, it binds and listens on 0.0.0.0:PORT and on
// [::]:PORT, twice, closes each, and then serves 127.0.0.1:PORT. A probe that is kept as a held socket is a black
// hole: its clients hang, where they would be refused.
// Usage: port-prober PORT

#include "serve.h"

static void probe(int family, int port) {
  int fd = must(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  int on = 1; // as Node does
  must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
  if (family == AF_INET) {
    bind_ipv4(fd, "0.0.0.0", port);
  } else {
    int off = 0; // dual stack, as Node's
    must(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off), "setsockopt");
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
    must(bind(fd, (struct sockaddr *)&at, sizeof at), "bind");
  }
  must(listen(fd, 511), "listen");
  must(close(fd), "close");
}

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  probe(AF_INET, port);
  probe(AF_INET6, port);
  probe(AF_INET6, port);
  int listener = stream_socket();
  int on = 1;
  must(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
  bind_ipv4(listener, "127.0.0.1", port);
  must(listen(listener, 511), "listen");
  listening(port);
  serve(listener);
}
