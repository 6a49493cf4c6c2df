// The trap: a program with N SO_REUSEPORT sockets of its own on one port, a thread for each, as thread-per-core
// servers have. After a restart each of its binds needs a held socket of its own; steering a reload to one of them
// starves the others. Answers `pid P` and `socket K`, K from 0.
// Usage: reuseport-many PORT COUNT [HOST]

#include "serve.h"
#include <pthread.h>

static int listeners[64];

__attribute__((noreturn)) static void *serve_one(void *index) {
  char text[32];
  snprintf(text, sizeof text, "socket %d\n", (int)(intptr_t)index);
  for (;;) {
    int connection = accept4(listeners[(intptr_t)index], NULL, NULL, SOCK_CLOEXEC);
    if (connection != -1)
      answer(connection, text);
    else if (errno != EINTR && errno != ECONNABORTED)
      die("accept");
  }
}

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  int count = argc > 2 ? atoi(argv[2]) : 4;
  if (count < 1 || count > 64) return 2;
  for (int i = 0; i < count; i++) {
    listeners[i] = stream_socket();
    int on = 1;
    must(setsockopt(listeners[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), "setsockopt");
    bind_ipv4(listeners[i], argc > 3 ? argv[3] : "127.0.0.1", port);
  }
  for (int i = 0; i < count; i++) must(listen(listeners[i], 128), "listen");
  listening(port);
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)i) != 0) return 1;
  }
  pause();
  return 0;
}
