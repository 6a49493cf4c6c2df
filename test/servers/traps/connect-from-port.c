// The trap: bind does not mean that a listener follows; this socket gets a chosen source port and connects. A copy
// of it kept elsewhere would keep the connection open after the close below: the peer would never see the end.
// Says `connected from A to B`, then `closed`; waits for the end of its input so that the peer can be looked at.
// Usage: connect-from-port SOURCE_PORT DESTINATION_PORT [HOST]

#include "serve.h"

int main(int argc, char **argv) {
  int from = port_argument(argc, argv, 1);
  int to = port_argument(argc, argv, 2);
  const char *host = argc > 3 ? argv[3] : "127.0.0.1";
  int fd = stream_socket();
  int on = 1;
  must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
  bind_ipv4(fd, host, from);
  struct sockaddr_in peer = ipv4(host, to);
  must(connect(fd, (struct sockaddr *)&peer, sizeof peer), "connect");
  say("connected from %d to %d", from, to);
  must(close(fd), "close");
  say("closed");
  char byte;
  return read(0, &byte, 1) == -1;
}
