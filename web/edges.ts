import type { NodeId } from './states.js';

/** Where an edge begins or ends. CLOSED has no count: there is no socket. */
export type Place = NodeId | 'CLOSED';

export type Edge =
  | (
      | 'CLOSED-BOUND'
      | 'BOUND-LISTEN'
      | 'LISTEN-SYN_RECV'
      | 'SYN_RECV-ACCEPT_QUEUE'
      | 'ACCEPT_QUEUE-ESTABLISHED'
    )
  | (
      | 'CLOSED-SYN_SENT'
      | 'BOUND-SYN_SENT'
      | 'SYN_SENT-ESTABLISHED'
      | 'SYN_SENT-SYN_RECV'
      | 'SYN_RECV-ESTABLISHED'
    )
  | ('SYN_RECV-FIN_WAIT1' | 'ESTABLISHED-FIN_WAIT1' | 'FIN_WAIT1-FIN_WAIT2' | 'FIN_WAIT1-CLOSING')
  | ('FIN_WAIT2-TIME_WAIT' | 'CLOSING-TIME_WAIT' | 'TIME_WAIT-CLOSED' | 'FIN_WAIT2-CLOSED')
  | (
      | 'ESTABLISHED-CLOSE_WAIT'
      | 'CLOSE_WAIT-LAST_ACK'
      | 'LAST_ACK-CLOSED'
      | 'LISTEN-CLOSED'
      | 'SYN_SENT-CLOSED'
    );

/**
 * The ways through the diagram with what makes a socket go there: a call, or what comes from the peer. Where several lead on,
 * the usual one comes first.
 *
 * @see RFC 9293, 3.3.2
 */
export const EDGES: Readonly<Record<Edge, string>> = {
  'CLOSED-BOUND': 'bind',
  'BOUND-LISTEN': 'listen',
  'LISTEN-SYN_RECV': 'SYN',
  'SYN_RECV-ACCEPT_QUEUE': 'ACK',
  'ACCEPT_QUEUE-ESTABLISHED': 'accept',
  'CLOSED-SYN_SENT': 'connect',
  'BOUND-SYN_SENT': 'connect',
  'SYN_SENT-ESTABLISHED': 'SYN+ACK',
  'SYN_SENT-SYN_RECV': 'SYN: both connect',
  'SYN_RECV-ESTABLISHED': 'ACK',
  'SYN_RECV-FIN_WAIT1': 'close',
  'ESTABLISHED-FIN_WAIT1': 'close, FIN out',
  'ESTABLISHED-CLOSE_WAIT': 'FIN in',
  'FIN_WAIT1-FIN_WAIT2': 'ACK',
  'FIN_WAIT1-CLOSING': 'FIN in',
  'FIN_WAIT2-TIME_WAIT': 'FIN in',
  'CLOSING-TIME_WAIT': 'ACK',
  'CLOSE_WAIT-LAST_ACK': 'close',
  'TIME_WAIT-CLOSED': '60 s',
  'FIN_WAIT2-CLOSED': 'orphan: 60 s',
  'LAST_ACK-CLOSED': 'ACK',
  'LISTEN-CLOSED': 'close',
  'SYN_SENT-CLOSED': 'refused',
};

export const EDGE_IDS: readonly Edge[] = Object.keys(EDGES) as Edge[];
