import type { TcpState } from './tcp-state.js';

/** A connection as one look saw it. Counts are of the whole life of its socket. */
export interface ConnectionSample {
  readonly state: TcpState;
  /** Bytes that the program has not read. A FIN that it has not seen counts as one. */
  readonly receiveQueue: number;
  /** Bytes that the program has written and the peer has not acknowledged, sent or not. */
  readonly sendQueue: number;
  /** A FIN counts as one. */
  readonly bytesReceived: number;
  /** What the program has written, each byte once. */
  readonly bytesWritten: number;
  /** Ages in ticks of the kernel. */
  readonly lastDataSentMs: number;
  readonly lastDataReceivedMs: number;
  readonly segmentsIn: number;
  /** Segments that carried no data. */
  readonly emptySegmentsOut: number;
}

/** What the looks at a connection have told up to now. */
export interface ConnectionHistory<Sample extends ConnectionSample = ConnectionSample> {
  readonly last: Sample;
  /** When a look found that something had changed since the one before; at first the first look. */
  readonly movedAtMs: number;
  /** Input came after the last output, as far as could be told. */
  readonly inputLast: boolean;
}

/** For how long nothing must move. */
export interface Quiet {
  readonly quietMs: number;
  /**
   * Of connections whose last output followed promptly on the last input, counted from that output. It is an answer,
   * most often; it may be the end of a TLS handshake whose last input brought a request with it.
   */
  readonly unclearQuietMs: number;
}

/**
 * Why a connection cannot be ended without cutting something.
 * `unread`: something came that the program has not read. `unacknowledged`: not all that it wrote has arrived.
 * `never-answered`: something came and nothing was ever written. `unanswered`: something came after the last output.
 */
export type OwedReason = 'unread' | 'unacknowledged' | 'never-answered' | 'unanswered';

/** `moving`: nothing is owed, but it was not quiet for long enough. `sinceMs`: its last movement. */
export type ConnectionVerdict =
  | { readonly type: 'owed'; readonly reason: OwedReason }
  | { readonly type: 'moving' | 'idle'; readonly sinceMs: number };

/** In these the peer's FIN has come, which the kernel counts as a byte. @see tcp_rcv_nxt_update(), tcp_fin() */
const FIN_CAME: ReadonlySet<TcpState> = new Set(['CLOSE_WAIT', 'LAST_ACK', 'CLOSING']);
/** How long a server may take to end a TLS handshake. */
const PROMPT_MS = 50;
/** The longest that the kernel puts off an acknowledgement, in case an answer takes it along. TCP_DELACK_MAX */
const DELAYED_ACK_MS = 200;

/** Adds what a look saw. `before` is undefined at the first one. */
export function observe<Sample extends ConnectionSample>(
  before: ConnectionHistory<Sample> | undefined,
  sample: Sample,
  atMs: number,
): ConnectionHistory<Sample> {
  const inputGrew = received(sample) > (before === undefined ? 0 : received(before.last));
  const outputGrew = sample.bytesWritten > (before?.last.bytesWritten ?? 0);
  const hasMoved = before === undefined || inputGrew || outputGrew || hasChanged(before.last, sample);
  return {
    last: sample,
    movedAtMs: hasMoved ? atMs : before.movedAtMs,
    inputLast: cameInputLast(before, sample, inputGrew, outputGrew),
  };
}

/** What a connection is after the looks at it: idle when nothing is owed and it has been quiet for long enough. */
export function judge(history: ConnectionHistory, nowMs: number, quiet: Quiet): ConnectionVerdict {
  const reason = owedReason(history);
  if (reason !== undefined) return { type: 'owed', reason };
  const { last, movedAtMs } = history;
  const isQuiet =
    nowMs - movedAtMs >= quiet.quietMs && (!isUnclear(last) || last.lastDataSentMs >= quiet.unclearQuietMs);
  return { type: isQuiet ? 'idle' : 'moving', sinceMs: movedAtMs };
}

function owedReason({ last, inputLast }: ConnectionHistory): OwedReason | undefined {
  if (unread(last) > 0) return 'unread';
  if (last.sendQueue > 0) return 'unacknowledged';
  if (last.bytesWritten === 0 && received(last) > 0) return 'never-answered';
  return inputLast ? 'unanswered' : undefined;
}

function cameInputLast(
  before: ConnectionHistory | undefined,
  sample: ConnectionSample,
  inputGrew: boolean,
  outputGrew: boolean,
): boolean {
  // What the program has not read it cannot have answered.
  if (unread(sample) > 0 || isInputNewer(sample)) return true;
  if (outputGrew) return false;
  return inputGrew || (before !== undefined && (before.inputLast || isAcknowledgedAlone(before, sample)));
}

/** In a later tick. In the same one there is no telling, nor while output is not yet sent. */
function isInputNewer(sample: ConnectionSample): boolean {
  return received(sample) > 0 && sample.sendQueue === 0 && sample.lastDataReceivedMs < sample.lastDataSentMs;
}

/**
 * Whether an acknowledgement has gone out that no data took along and no segment asked for just now: the kernel had put
 * it off, so that input came after the last output, which would have taken it along.
 */
function isAcknowledgedAlone({ last }: ConnectionHistory, sample: ConnectionSample): boolean {
  return (
    // Where nothing came, it is the client's FIN that is acknowledged.
    received(sample) > 0 &&
    last.lastDataReceivedMs === last.lastDataSentMs &&
    last.lastDataReceivedMs <= DELAYED_ACK_MS &&
    sample.emptySegmentsOut > last.emptySegmentsOut &&
    sample.segmentsIn === last.segmentsIn &&
    !hasChanged(last, sample)
  );
}

function isUnclear(sample: ConnectionSample): boolean {
  return received(sample) > 0 && sample.lastDataReceivedMs - sample.lastDataSentMs <= PROMPT_MS;
}

function hasChanged(one: ConnectionSample, other: ConnectionSample): boolean {
  return (
    one.state !== other.state || one.receiveQueue !== other.receiveQueue || one.sendQueue !== other.sendQueue
  );
}

/** Bytes of data. */
function received({ state, bytesReceived }: ConnectionSample): number {
  return FIN_CAME.has(state) ? bytesReceived - 1 : bytesReceived;
}

function unread({ state, receiveQueue }: ConnectionSample): number {
  return FIN_CAME.has(state) ? receiveQueue - 1 : receiveQueue;
}
