// What the probes share: a plain IPv4 listener and a blocking HTTP answer that names the process.
// Nothing here sets an option that the port's fate depends on (no SO_REUSEADDR): the keeper has to do without.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

__attribute__((unused, noreturn)) static void die(const char *call) {
  perror(call);
  exit(1);
}

// Kernel calls that must not fail: `must(bind(...), "bind")`.
__attribute__((unused)) static int must(int result, const char *call) {
  if (result == -1) die(call);
  return result;
}

// One whole line at once, so that the reader of a pipe sees it now.
__attribute__((unused, format(printf, 1, 2))) static void say(const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof line - 2) length = sizeof line - 2;
  line[length++] = '\n';
  if (write(1, line, length) == -1) exit(1);
}

__attribute__((unused)) static int port_argument(int argc, char **argv, int index) {
  if (argc <= index) {
    fprintf(stderr, "%s: a port is missing\n", argv[0]);
    exit(2);
  }
  return atoi(argv[index]);
}

__attribute__((unused)) static struct sockaddr_in ipv4(const char *host, int port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (inet_pton(AF_INET, host, &at.sin_addr) != 1) {
    fprintf(stderr, "not an IPv4 address: %s\n", host);
    exit(2);
  }
  return at;
}

__attribute__((unused)) static int stream_socket(void) {
  return must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
}

__attribute__((unused)) static void bind_ipv4(int fd, const char *host, int port) {
  struct sockaddr_in at = ipv4(host, port);
  must(bind(fd, (struct sockaddr *)&at, sizeof at), "bind");
}

__attribute__((unused)) static void listening(int port) { say("listening on %d pid %d", port, getpid()); }

// Reads one request and answers it; `extra` is more of the body, after the line that names the process.
__attribute__((unused)) static void answer(int connection, const char *extra) {
  struct timeval patience = {.tv_sec = 5}; // a client that sends nothing must not stop the server for ever
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char request[4096];
  size_t length = 0;
  while (length < sizeof request - 1) {
    ssize_t got = read(connection, request + length, sizeof request - 1 - length);
    if (got == -1 && errno == EINTR) continue;
    if (got <= 0) break;
    length += got;
    request[length] = 0;
    if (strstr(request, "\r\n\r\n") == NULL) continue;
    char body[2048], head[256];
    int size = snprintf(body, sizeof body, "pid %d\n%s", getpid(), extra);
    int head_size = snprintf(head, sizeof head,
                             "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
                             "Connection: close\r\n\r\n",
                             size);
    if (send(connection, head, head_size, MSG_NOSIGNAL | MSG_MORE) == -1) break;
    if (send(connection, body, size, MSG_NOSIGNAL) == -1) break;
    break;
  }
  close(connection);
}

// Blocking accept, one connection after another, for ever.
__attribute__((unused, noreturn)) static void serve(int listener) {
  for (;;) {
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection != -1)
      answer(connection, "");
    else if (errno != EINTR && errno != ECONNABORTED)
      die("accept");
  }
}
