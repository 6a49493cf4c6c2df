/** A rule of the kernel by which a call succeeds or fails, or that changes what a later call meets. */
export interface Rule {
  /** One sentence. */
  readonly says: string;
  /** Where the kernel decides it. */
  readonly kernel: string;
  /**
   * Where random programs meet it; TCP if absent. `scenario`: only in single scenarios. `source`: read in the kernel's
   * source, not compared with a live kernel.
   */
  readonly reached?: 'tcp' | 'udp' | 'both' | 'scenario' | 'source';
}

/** Stable: users and scenarios name rules by it. */
export type RuleId =
  | 'done'
  | 'bind-own-family'
  | 'address-not-local'
  | 'low-port-needs-privilege'
  | 'bind-once'
  | 'multicast-is-for-datagrams'
  | 'v6only-refuses-mapped'
  | 'link-local-needs-device'
  | 'specific-v6-is-v6only'
  | 'failed-bind-clears-address'
  | 'port-left-to-connect'
  | 'port-free'
  | 'port-shared'
  | 'reuseport-remembered'
  | 'reuseaddr-remembered'
  | 'address-in-use'
  | 'listener-not-shared'
  | 'time-wait-had-no-reuseaddr'
  | 'reuseport-same-user'
  | 'automatic-port-not-shared'
  | 'automatic-port'
  | 'no-automatic-port'
  | 'udp-first-sharer-decides'
  | 'listen-is-for-streams'
  | 'listen-needs-unconnected'
  | 'listen-again-changes-backlog'
  | 'listen-asks-again'
  | 'accept-needs-listener'
  | 'nobody-waits'
  | 'accepted'
  | 'connect-needs-unconnected'
  | 'connect-own-family'
  | 'no-route'
  | 'mapped-source-connects-to-mapped'
  | 'broadcast-needs-so-broadcast'
  | 'connection-exists'
  | 'connection-free'
  | 'no-port-to-connect-from'
  | 'port-for-connection'
  | 'explicit-port-recycles-time-wait'
  | 'tw-reuse'
  | 'self-connection'
  | 'syn-replaces-time-wait'
  | 'syn-resets-former-peer'
  | 'nobody-listens'
  | 'connected'
  | 'reuseport-group-shares'
  | 'automatic-port-released'
  | 'connect-only-again'
  | 'disconnect'
  | 'udp-connect-takes-address'
  | 'udp-disconnect'
  | 'closes-first-time-wait'
  | 'orphan-fin-wait-2'
  | 'fin-wait-2-becomes-time-wait'
  | 'time-wait-limit'
  | 'time-wait-ends'
  | 'reset-ends-time-wait'
  | 'reset-closes'
  | 'self-connection-closes'
  | 'linger-zero-resets'
  | 'unread-data-resets'
  | 'closing-a-listener-resets-its-queue'
  | 'another-process-has-it'
  | 'data-to-closed-is-reset'
  | 'send-needs-connection'
  | 'reset-is-told-once'
  | 'receive-needs-connection'
  | 'nothing-to-read'
  | 'shutdown-needs-connection'
  | 'shutdown-ends-listening'
  | 'shutdown-write-leaves-listener'
  | 'destroyed'
  | 'v6only-before-bind'
  | 'v6only-is-for-ipv6'
  | 'no-such-device'
  | 'rebinding-device-needs-privilege';

/** By id. */
export const rules: Readonly<Record<RuleId, Rule>> = {
  done: { says: 'Nothing stands in the way.', kernel: '', reached: 'both' },

  // bind
  'bind-own-family': {
    says: 'An IPv4 socket binds IPv4 addresses (else EAFNOSUPPORT), an IPv6 one IPv6 addresses, v4-mapped ones included (else EINVAL).',
    kernel: '__inet_bind(), __inet6_bind()',
    reached: 'both',
  },
  'address-not-local': {
    says: 'The address must be one of this machine, a wildcard, multicast or broadcast, unless IP_FREEBIND or ip_nonlocal_bind is set.',
    kernel: 'inet_addr_valid_or_nonlocal()',
    reached: 'both',
  },
  'low-port-needs-privilege': {
    says: 'A port below net.ipv4.ip_unprivileged_port_start needs CAP_NET_BIND_SERVICE.',
    kernel: '__inet_bind()',
    reached: 'both',
  },
  'bind-once': {
    says: 'A socket that holds a port or is not closed cannot be bound.',
    kernel: '__inet_bind()',
    reached: 'both',
  },
  'multicast-is-for-datagrams': {
    says: 'A TCP socket cannot be bound to an IPv6 multicast address.',
    kernel: '__inet6_bind()',
  },
  'v6only-refuses-mapped': {
    says: 'A socket with IPV6_V6ONLY has nothing to do with v4-mapped addresses.',
    kernel: '__inet6_bind(), tcp_v6_connect()',
    reached: 'both',
  },
  'link-local-needs-device': {
    says: 'A link-local address needs an interface: a scope or SO_BINDTODEVICE.',
    kernel: '__inet6_bind()',
    reached: 'udp',
  },
  'specific-v6-is-v6only': {
    says: 'bind to a real IPv6 address turns IPV6_V6ONLY on.',
    kernel: '__inet6_bind()',
    reached: 'both',
  },
  'failed-bind-clears-address': {
    says: 'A bind that fails leaves the socket on the wildcard, whatever its address was.',
    kernel: '__inet_bind()',
    reached: 'both',
  },
  'port-left-to-connect': {
    says: 'With IP_BIND_ADDRESS_NO_PORT a bind to port 0 takes the address alone; connect chooses the port.',
    kernel: '__inet_bind()',
    reached: 'both',
  },
  'port-free': { says: 'Nobody has the port.', kernel: 'inet_csk_get_port()', reached: 'both' },
  'port-shared': {
    says: 'Everybody who has the port is at another address or interface, or shares it by flags that both have set.',
    kernel: 'inet_csk_bind_conflict()',
    reached: 'both',
  },
  'reuseport-remembered': {
    says: 'The port remembers a bind with SO_REUSEPORT by the same user whose address covers this one; conflicts with others are not looked for.',
    kernel: 'sk_reuseport_match()',
  },
  'reuseaddr-remembered': {
    says: 'The port remembers that everybody bound it with SO_REUSEADDR and nobody listened; what they have set since does not count. Before Linux 6.8.',
    kernel: 'inet_csk_get_port()',
    reached: 'source',
  },
  'address-in-use': {
    says: 'Another socket has the port at an overlapping address, and not both have set SO_REUSEADDR.',
    kernel: 'inet_bind_conflict()',
    reached: 'both',
  },
  'listener-not-shared': {
    says: 'SO_REUSEADDR on both sides does not help against a socket that listens.',
    kernel: 'inet_bind_conflict()',
  },
  'time-wait-had-no-reuseaddr': {
    says: 'A connection in TIME_WAIT, or an orphan in FIN_WAIT2, has the port, and its socket or the new one had no SO_REUSEADDR, nor had both SO_REUSEPORT.',
    kernel: 'inet_bind_conflict()',
  },
  'reuseport-same-user': {
    says: 'SO_REUSEPORT shares a port between sockets of one user; this one was made by another, or by one that is in a group already.',
    kernel: 'inet_bind_conflict(), udp_lib_lport_inuse()',
    reached: 'both',
  },
  'automatic-port-not-shared': {
    says: 'A port that somebody has at an overlapping address is not chosen for port 0, whatever the flags.',
    kernel: 'inet_csk_find_open_port()',
  },
  'automatic-port': {
    says: 'For port 0 the kernel chooses: odd offsets of the range before even ones, with SO_REUSEADDR the lower half first.',
    kernel: 'inet_csk_find_open_port(), udp_lib_get_port()',
    reached: 'both',
  },
  'no-automatic-port': {
    says: 'No port of net.ipv4.ip_local_port_range can be had.',
    kernel: 'inet_csk_find_open_port(), udp_lib_get_port()',
    reached: 'both',
  },
  'udp-first-sharer-decides': {
    says: 'UDP: the first overlapping socket that shares by SO_REUSEPORT ends the search, even if a later one conflicts.',
    kernel: 'udp_lib_lport_inuse()',
    reached: 'udp',
  },

  // listen and accept
  'listen-is-for-streams': {
    says: 'A UDP socket cannot listen or accept.',
    kernel: 'sock_no_listen()',
    reached: 'udp',
  },
  'listen-needs-unconnected': {
    says: 'A socket that is or was connected cannot listen until it is disconnected.',
    kernel: 'inet_listen()',
  },
  'listen-again-changes-backlog': {
    says: 'listen on a listener changes its backlog alone.',
    kernel: '__inet_listen_sk()',
  },
  'listen-asks-again': {
    says: 'listen asks for the port once more, with the flags as they are now; a failure leaves the socket bound.',
    kernel: 'inet_csk_listen_start()',
  },
  'accept-needs-listener': { says: 'Only a listener accepts.', kernel: 'inet_csk_accept()' },
  'nobody-waits': { says: 'No connection waits in the queue.', kernel: 'inet_csk_accept()' },
  accepted: {
    says: 'The oldest connection of the queue, in whatever state it is by now.',
    kernel: 'inet_csk_accept()',
  },

  // connect
  'connect-needs-unconnected': {
    says: 'A socket that is or was connected, or listens, cannot connect until it is disconnected.',
    kernel: '__inet_stream_connect()',
  },
  'connect-own-family': {
    says: 'An IPv4 socket connects to IPv4 addresses (else EAFNOSUPPORT), an IPv6 TCP socket to IPv6 ones (else EINVAL).',
    kernel: 'tcp_v4_connect(), tcp_v6_connect()',
    reached: 'both',
  },
  'no-route': {
    says: 'There is no route to the address, or it is multicast or broadcast.',
    kernel: 'tcp_v4_connect()',
    reached: 'both',
  },
  'mapped-source-connects-to-mapped': {
    says: 'A socket on a v4-mapped address cannot connect to an IPv6 one.',
    kernel: 'tcp_v6_connect()',
  },
  'broadcast-needs-so-broadcast': {
    says: 'A UDP socket needs SO_BROADCAST for a broadcast address.',
    kernel: '__ip4_datagram_connect()',
    reached: 'udp',
  },
  'connection-exists': {
    says: 'There is a connection with the same two ends, or one in TIME_WAIT whose place may not be taken.',
    kernel: '__inet_check_established()',
  },
  'connection-free': { says: 'No connection has the same two ends.', kernel: '__inet_check_established()' },
  'no-port-to-connect-from': {
    says: 'Every port of the range is reserved, bound by somebody, or in use to the same destination.',
    kernel: '__inet_hash_connect()',
  },
  'port-for-connection': {
    says: 'connect chooses a port that nobody has bound, or that only connects to other destinations use: even offsets before odd ones.',
    kernel: '__inet_hash_connect()',
  },
  'explicit-port-recycles-time-wait': {
    says: 'connect from a port that the socket holds takes the place of a TIME_WAIT of the same two ends, whatever tcp_tw_reuse says, if timestamps were in use.',
    kernel: 'tcp_twsk_unique()',
  },
  'tw-reuse': {
    says: 'connect from a port of its choice takes the place of a TIME_WAIT as tcp_tw_reuse allows, after tcp_tw_reuse_delay.',
    kernel: 'tcp_twsk_unique()',
  },
  'self-connection': {
    says: 'A SYN that meets its own sender connects the socket with itself.',
    kernel: 'tcp_rcv_synsent_state_process()',
  },
  'syn-replaces-time-wait': {
    says: "A new SYN ends the server's TIME_WAIT of the same two ends.",
    kernel: 'tcp_timewait_state_process()',
  },
  'syn-resets-former-peer': {
    says: 'A new SYN that meets the former peer in CLOSE_WAIT makes it be reset.',
    kernel: 'tcp_rcv_synsent_state_process()',
  },
  'nobody-listens': {
    says: 'Nobody listens there who would take the connection.',
    kernel: '__inet_lookup_listener()',
  },
  connected: {
    says: 'The listener at the exact address comes before one at a wildcard; of equal ones the highest score, then the latest.',
    kernel: '__inet_lookup_listener(), compute_score()',
  },
  'reuseport-group-shares': {
    says: 'Of a group of SO_REUSEPORT listeners a hash decides; those that the kernel knows this CPU for are preferred.',
    kernel: 'reuseport_select_sock_by_hash()',
  },
  'automatic-port-released': {
    says: 'A port that the kernel chose is given up when the connection fails, is reset or has been closed by both; the name of the socket goes on showing it.',
    kernel: 'tcp_set_state(), inet_put_port()',
  },
  'connect-only-again': {
    says: 'When its last binder has left, a port that connections use is open to connect again. Linux 6.18.',
    kernel: 'inet_bind_bucket_destroy()',
  },
  disconnect: {
    says: 'connect with AF_UNSPEC resets a connection and gives up what the program did not name itself.',
    kernel: 'tcp_disconnect()',
  },
  'udp-connect-takes-address': {
    says: 'connect gives a UDP socket a port and the address of the route; it never fails for another connection.',
    kernel: '__ip4_datagram_connect()',
    reached: 'udp',
  },
  'udp-disconnect': {
    says: 'connect with AF_UNSPEC takes the interface from a UDP socket, and address and port unless the program named them.',
    kernel: '__udp_disconnect()',
    reached: 'udp',
  },

  // the end of a connection
  'closes-first-time-wait': {
    says: 'The end that closes first keeps TIME_WAIT, 60 s on Linux; it holds the port with the flags that its socket had then.',
    kernel: 'tcp_time_wait()',
  },
  'orphan-fin-wait-2': {
    says: 'A closed socket whose other end has not closed is kept like a TIME_WAIT, for tcp_fin_timeout.',
    kernel: 'tcp_time_wait()',
  },
  'fin-wait-2-becomes-time-wait': {
    says: "The other end's FIN turns an orphan in FIN_WAIT2 into TIME_WAIT.",
    kernel: 'tcp_timewait_state_process()',
  },
  'time-wait-limit': {
    says: 'Above tcp_max_tw_buckets no TIME_WAIT is kept.',
    kernel: 'tcp_time_wait()',
    reached: 'scenario',
  },
  'time-wait-ends': {
    says: 'TIME_WAIT and FIN_WAIT2 of orphans end by themselves.',
    kernel: 'tw_timer_handler()',
    reached: 'scenario',
  },
  'reset-ends-time-wait': {
    says: 'A reset ends TIME_WAIT and an orphan in FIN_WAIT2 (tcp_rfc1337=0).',
    kernel: 'tcp_timewait_state_process()',
  },
  'reset-closes': { says: 'A reset closes the socket; no TIME_WAIT follows.', kernel: 'tcp_reset()' },
  'self-connection-closes': {
    says: 'A socket connected with itself ends in TIME_WAIT.',
    kernel: 'tcp_fin()',
  },
  'linger-zero-resets': {
    says: 'close with SO_LINGER 0 resets; no TIME_WAIT follows.',
    kernel: '__tcp_close()',
  },
  'unread-data-resets': {
    says: 'close with unread data resets; no TIME_WAIT follows.',
    kernel: '__tcp_close()',
    reached: 'scenario',
  },
  'closing-a-listener-resets-its-queue': {
    says: 'close of a listener resets the connections that wait in its queue.',
    kernel: 'inet_csk_listen_stop()',
  },
  'another-process-has-it': {
    says: 'A socket ends when the last process has closed it.',
    kernel: '__fput()',
    reached: 'scenario',
  },
  'data-to-closed-is-reset': {
    says: 'Data for a socket that its process has closed is answered with a reset.',
    kernel: 'tcp_rcv_state_process(), tcp_timewait_state_process()',
    reached: 'scenario',
  },
  'reset-is-told-once': {
    says: 'A reset is told by the next send or receive, once; from then on sending fails with EPIPE and reading ends.',
    kernel: 'sock_error()',
    reached: 'scenario',
  },
  'send-needs-connection': {
    says: 'Nothing can be sent on a socket that is not connected or shut for sending.',
    kernel: 'tcp_sendmsg_locked()',
    reached: 'scenario',
  },
  'receive-needs-connection': {
    says: 'Nothing can be read from a socket that was never connected.',
    kernel: 'tcp_recvmsg_locked()',
    reached: 'scenario',
  },
  'nothing-to-read': { says: 'Nothing has come yet.', kernel: 'tcp_recvmsg_locked()', reached: 'scenario' },
  'shutdown-needs-connection': {
    says: 'shutdown needs a connection or a listener.',
    kernel: 'inet_shutdown()',
    reached: 'both',
  },
  'shutdown-ends-listening': {
    says: 'shutdown of a listener for reading ends its listening; an explicit port stays bound.',
    kernel: 'inet_shutdown()',
  },
  'shutdown-write-leaves-listener': {
    says: 'shutdown of a listener for writing does nothing.',
    kernel: 'inet_shutdown()',
  },
  destroyed: {
    says: 'sock_diag ends sockets and TIME_WAIT entries on demand (CAP_NET_ADMIN).',
    kernel: 'tcp_abort()',
    reached: 'scenario',
  },

  // options
  'v6only-before-bind': {
    says: 'IPV6_V6ONLY cannot be changed while the socket holds a port.',
    kernel: 'do_ipv6_setsockopt()',
    reached: 'both',
  },
  'v6only-is-for-ipv6': {
    says: 'An IPv4 socket has no IPV6_V6ONLY.',
    kernel: 'ip_setsockopt()',
    reached: 'both',
  },
  'no-such-device': {
    says: 'SO_BINDTODEVICE needs an interface of that name in the network namespace.',
    kernel: 'sock_setbindtodevice()',
    reached: 'both',
  },
  'rebinding-device-needs-privilege': {
    says: 'A socket that is bound to an interface can be bound to another one with CAP_NET_RAW alone.',
    kernel: 'sock_bindtoindex_locked()',
    reached: 'source',
  },
};
