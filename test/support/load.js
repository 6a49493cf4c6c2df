// An open-loop load: a new TCP connection for each request, on a fixed schedule that does not wait for answers.
// Plain JavaScript without dependencies, so that load-main.js runs it on any Node without a TypeScript runner.

import { connect } from 'node:net';

const KEPT_FAILURES = 10_000;
const LINGER_MS = 1_000;

export function startLoad(options) {
  return new Load(options);
}

class Load {
  #options;
  #request;
  #startMs = performance.now();
  #startedAt = Date.now();
  #stopMs;
  #timer;
  #sockets = new Set();
  #unanswered = 0;
  #settled = () => undefined;
  #counts = { sent: 0, skipped: 0, ok: 0, refused: 0, reset: 0, eof: 0, hung: 0, other: 0 };
  #failures = [];
  #latencies = [];
  #answers = [];
  #lateMs = 0;
  #lastOkMs = this.#startMs;
  #gap = { ms: 0, atMs: 0 };
  #processes = new Map();
  #result;

  constructor({
    host = '127.0.0.1',
    port,
    path = '/',
    ratePerSecond = 100,
    timeoutMs = 60_000,
    maxOpen = 8_000,
    keepAnswers = false,
    localAddress,
  }) {
    this.#options = { host, port, ratePerSecond, timeoutMs, maxOpen, keepAnswers, localAddress };
    const authority = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    this.#request = `GET ${path} HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n\r\n`;
    this.#sendDue();
  }

  counts() {
    return { ...this.#counts };
  }

  stop() {
    this.#result ??= this.#finish();
    return this.#result;
  }

  #sendDue() {
    const intervalMs = 1_000 / this.#options.ratePerSecond;
    for (;;) {
      const dueMs = this.#startMs + (this.#counts.sent + this.#counts.skipped) * intervalMs;
      const earlyMs = dueMs - performance.now();
      if (earlyMs > 0) {
        this.#timer = setTimeout(() => this.#sendDue(), earlyMs);
        return;
      }
      this.#lateMs = Math.max(this.#lateMs, -earlyMs);
      if (this.#sockets.size < this.#options.maxOpen) this.#send();
      else this.#counts.skipped++;
    }
  }

  #send() {
    const { host, port, timeoutMs, localAddress } = this.#options;
    const startMs = performance.now();
    let phase = 'connecting';
    let answer = '';
    let open = true; // until the first outcome; what happens to the socket later does not count

    const socket = connect({ host, port, localAddress, noDelay: true, autoSelectFamily: false });
    const timer = setTimeout(() => fail('hung', 'ETIMEDOUT'), timeoutMs);
    this.#sockets.add(socket);
    this.#counts.sent++;
    this.#unanswered++;

    const settle = () => {
      if (!open) return false;
      open = false;
      clearTimeout(timer);
      return true;
    };
    const settled = () => {
      this.#unanswered--;
      if (this.#unanswered === 0) this.#settled();
    };
    const fail = (kind, code) => {
      if (!settle()) return;
      this.#fail({ kind, code, phase, startedMs: startMs, endedMs: performance.now() });
      socket.destroy();
      settled();
    };
    const read = (ended) => {
      const parsed = parseAnswer(answer, ended);
      if (parsed === undefined) {
        if (ended) fail('eof', 'EOF');
      } else if (parsed.status !== 200) {
        fail('other', `HTTP ${parsed.status}`);
      } else if (settle()) {
        this.#succeed(startMs, parsed.pid);
        // The server closes first, as it said. One that does not is not waited for.
        setTimeout(() => socket.destroy(), LINGER_MS).unref();
        settled();
      }
    };

    socket.setEncoding('latin1');
    socket.write(this.#request);
    socket.on('connect', () => {
      phase = 'waiting';
    });
    socket.on('data', (text) => {
      phase = 'answering';
      if (!open) return;
      answer += text;
      read(false);
    });
    socket.on('end', () => read(true));
    socket.on('error', ({ code }) => fail(kinds[code] ?? 'other', code));
    socket.on('close', () => {
      fail('eof', 'EOF');
      this.#sockets.delete(socket);
    });
  }

  #succeed(startMs, pid) {
    const nowMs = performance.now();
    this.#counts.ok++;
    this.#latencies.push(nowMs - startMs);
    this.#noteGap(nowMs);
    this.#lastOkMs = nowMs;
    const atMs = nowMs - this.#startMs;
    if (this.#options.keepAnswers)
      this.#answers.push({ atMs: rounded(atMs), tookMs: rounded(nowMs - startMs) });
    if (pid === undefined) return;
    const seen = this.#processes.get(pid);
    if (seen === undefined) this.#processes.set(pid, { pid, ok: 1, firstAtMs: atMs, lastAtMs: atMs });
    else {
      seen.ok++;
      seen.lastAtMs = atMs;
    }
  }

  #fail({ kind, code, phase, startedMs, endedMs }) {
    this.#counts[kind]++;
    if (this.#failures.length >= KEPT_FAILURES) return;
    this.#failures.push({
      kind,
      code,
      phase,
      startedAtMs: startedMs - this.#startMs,
      endedAtMs: endedMs - this.#startMs,
    });
  }

  #noteGap(untilMs) {
    const ms = untilMs - this.#lastOkMs;
    if (ms > this.#gap.ms) this.#gap = { ms, atMs: this.#lastOkMs - this.#startMs };
  }

  async #finish() {
    clearTimeout(this.#timer);
    this.#stopMs = performance.now();
    // A server that never answers again leaves no second answer to measure the gap by: the end stands for it.
    this.#noteGap(this.#stopMs);
    if (this.#unanswered > 0) await new Promise((resolve) => (this.#settled = resolve));
    for (const socket of this.#sockets) socket.destroy();

    const latencies = this.#latencies.sort((a, b) => a - b);
    const processes = [...this.#processes.values()];
    return {
      ...this.#counts,
      startedAt: this.#startedAt,
      durationMs: this.#stopMs - this.#startMs,
      longestGapMs: this.#gap.ms,
      longestGapAtMs: this.#gap.atMs,
      medianMs: quantile(latencies, 0.5),
      p99Ms: quantile(latencies, 0.99),
      maxMs: quantile(latencies, 1),
      lateMs: this.#lateMs,
      pids: processes.map(({ pid }) => pid),
      processes,
      failures: this.#failures,
      answers: this.#answers,
    };
  }
}

const kinds = { ECONNREFUSED: 'refused', ECONNRESET: 'reset', EPIPE: 'reset' };

/** Gives undefined while the answer is not complete. Without a length it ends where the connection ends. */
function parseAnswer(text, ended) {
  const bodyAt = text.indexOf('\r\n\r\n') + 4;
  if (bodyAt < 4) return undefined;
  const head = text.slice(0, bodyAt);
  const body = text.slice(bodyAt);
  const length = /^content-length: *(\d+)/im.exec(head)?.[1];
  const chunked = /^transfer-encoding: *chunked/im.test(head);
  const complete =
    length !== undefined ? body.length >= Number(length) : chunked ? body.endsWith('0\r\n\r\n') : ended;
  if (!complete) return undefined;
  const pid = /\bpid (\d+)/.exec(body)?.[1];
  return {
    status: Number(/^HTTP\/1\.[01] (\d+)/.exec(head)?.[1]),
    pid: pid === undefined ? undefined : Number(pid),
  };
}

/** To 10 µs: there may be very many, and the client is no finer. */
function rounded(ms) {
  return Math.round(ms * 100) / 100;
}

function quantile(sorted, q) {
  return sorted.length === 0 ? null : sorted[Math.ceil(q * sorted.length) - 1];
}
