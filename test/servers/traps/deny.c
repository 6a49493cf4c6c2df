// The trap: a filter around us. `pidfd_getfd`: it is refused with EPERM, as Docker's default profile does without
// CAP_SYS_PTRACE. `others`: so it is unless somebody copies the pidfd itself, which he can only do from himself, nearly as
// Yama refuses it out of processes that somebody else has started. `servers`: as `others`, but numbers below 10 may be
// copied, which holders have and servers in Node have not. `ipv6`: there are no IPv6 sockets (EAFNOSUPPORT), as with
// ipv6.disable=1. This launcher puts such a filter around the command that it becomes.
// Usage: deny pidfd_getfd|others|servers|ipv6 COMMAND [ARGUMENT ...]

#include "serve.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438 // the same on every architecture
#endif

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  int ipv6 = strcmp(argv[1], "ipv6") == 0;
  int servers = strcmp(argv[1], "servers") == 0;
  int others = servers || strcmp(argv[1], "others") == 0;
  if (!ipv6 && !others && strcmp(argv[1], "pidfd_getfd") != 0) return 2;
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ipv6 ? SYS_socket : SYS_pidfd_getfd, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | (ipv6 ? BPF_JEQ : BPF_JGE) | BPF_K, ipv6 ? AF_INET6 : 0, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (ipv6 ? EAFNOSUPPORT : EPERM)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_filter code_others[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_getfd, 0, 6),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
      BPF_STMT(BPF_MISC | BPF_TAX, 0),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, servers ? 10 : 0, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
  if (others) {
    program.len = sizeof code_others / sizeof *code_others;
    program.filter = code_others;
  }
  // Only where it is needed: it would also disarm the set-user-ID programs below.
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == -1) {
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl");
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
  }
  execvp(argv[2], argv + 2);
  die("execvp");
}
