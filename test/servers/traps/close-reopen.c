// The trap: a living program that closes its listener on purpose. Its clients must be refused, not left to wait in
// the queue of a held socket that nobody accepts from.
// SIGUSR1 closes (says `closed`), SIGUSR2 opens again (says `listening on ...`).
// Usage: close-reopen PORT [HOST]

#include "serve.h"
#include <poll.h>
#include <sys/signalfd.h>

static const char *host;
static int port;

static int open_listener(void) {
  int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
  int on = 1;
  must(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
  bind_ipv4(listener, host, port);
  must(listen(listener, 64), "listen");
  listening(port);
  return listener;
}

int main(int argc, char **argv) {
  port = port_argument(argc, argv, 1);
  host = argc > 2 ? argv[2] : "127.0.0.1";
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGUSR2);
  must(sigprocmask(SIG_BLOCK, &signals, NULL), "sigprocmask");
  struct pollfd fds[2] = {
      {.fd = must(signalfd(-1, &signals, SFD_CLOEXEC), "signalfd"), .events = POLLIN},
      {.fd = open_listener(), .events = POLLIN}, // poll ignores the entry while its fd is -1
  };
  for (;;) {
    must(poll(fds, 2, -1), "poll");
    if (fds[0].revents & POLLIN) {
      struct signalfd_siginfo signal;
      if (read(fds[0].fd, &signal, sizeof signal) != sizeof signal) die("read");
      if (signal.ssi_signo == SIGUSR1 && fds[1].fd != -1) {
        must(close(fds[1].fd), "close");
        fds[1].fd = -1;
        say("closed");
      } else if (signal.ssi_signo == SIGUSR2 && fds[1].fd == -1) {
        fds[1].fd = open_listener();
      }
    } else if (fds[1].revents & POLLIN) {
      int connection = accept4(fds[1].fd, NULL, NULL, SOCK_CLOEXEC);
      if (connection != -1) answer(connection, "");
    }
  }
}
