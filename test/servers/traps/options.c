// The trap: options set before bind are on the socket that a swap throws away; those of the held socket, from the
// program's first start, stay in force. Answers with every option, read from the listener and from the connection:
// `listener NAME VALUE` and `accepted NAME VALUE`, or `NAME -` where the kernel refuses the question.
// Usage: options PORT [NAME=VALUE ...], for example options 8080 SO_RCVBUF=8192 TCP_NODELAY=1

#include "serve.h"

static const struct {
  const char *name;
  int level;
  int option;
} options[] = {
    {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR},
    {"SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT},
    {"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF},
    {"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF},
    {"SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT},
    {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE},
    {"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY},
    {"SO_MARK", SOL_SOCKET, SO_MARK},
    {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE},
    {"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL},
    {"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT},
    {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY},
    {"TCP_DEFER_ACCEPT", IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {"TCP_FASTOPEN", IPPROTO_TCP, TCP_FASTOPEN},
    {"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT},
    {"TCP_MAXSEG", IPPROTO_TCP, TCP_MAXSEG},
    {"IP_TOS", IPPROTO_IP, IP_TOS},
};
enum { COUNT = sizeof options / sizeof *options };

static void set(int fd, char *assignment) {
  char *value = strchr(assignment, '=');
  for (int i = 0; value != NULL && i < COUNT; i++) {
    if (strlen(options[i].name) != (size_t)(value - assignment)) continue;
    if (strncmp(options[i].name, assignment, value - assignment) != 0) continue;
    int number = atoi(value + 1);
    must(setsockopt(fd, options[i].level, options[i].option, &number, sizeof number), assignment);
    return;
  }
  fprintf(stderr, "not NAME=VALUE with a name of the table: %s\n", assignment);
  exit(2);
}

static int describe(char *text, size_t size, const char *whose, int fd) {
  int used = 0;
  for (int i = 0; i < COUNT; i++) {
    int value;
    socklen_t length = sizeof value;
    if (getsockopt(fd, options[i].level, options[i].option, &value, &length) == -1)
      used += snprintf(text + used, size - used, "%s %s -\n", whose, options[i].name);
    else
      used += snprintf(text + used, size - used, "%s %s %d\n", whose, options[i].name, value);
  }
  return used;
}

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  int listener = stream_socket();
  for (int i = 2; i < argc; i++) set(listener, argv[i]);
  bind_ipv4(listener, "127.0.0.1", port);
  must(listen(listener, 16), "listen");
  listening(port);
  for (;;) {
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection == -1) continue;
    char text[2000];
    int used = describe(text, sizeof text, "listener", listener);
    describe(text + used, sizeof text - used, "accepted", connection);
    answer(connection, text);
  }
}
