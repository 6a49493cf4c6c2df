import { lookup } from 'node:dns/promises';
import { isIP, type Socket } from 'node:net';
import { userInfo } from 'node:os';
import { errorCode, errorText } from '../errors.js';
import { Conversation } from './conversation.js';
import type { Failure, Phase, RemoteEnd, RemoteJob, RunningRemote } from './remote.js';
import { COMMAND_LINE, newMark, programFor } from './remote-command.js';
import { StderrPort } from './stderr-port.js';

/** Of "shell" in /etc/services. */
const PORT = 514;

/** Gives a connection to the address from a reserved port. */
export type Connect = (address: string, port: number, signal: AbortSignal) => Promise<Socket>;

export interface RshOptions {
  readonly connect: Connect;
  /** Whether stderr comes by a connection of its own. */
  readonly hasStderr: boolean;
}

/**
 * Starts a command at a host by the protocol of rcmd(3). stderr comes with stdout, unless a second connection is asked for.
 * The server closes first: nothing of ours stays in TIME_WAIT. Everything is clear text, and the server trusts addresses.
 */
export function startRsh(job: RemoteJob, options: RshOptions): RunningRemote {
  return new RshRemote(job, options);
}

class RshRemote implements RunningRemote {
  readonly ended: Promise<RemoteEnd>;
  readonly #job: RemoteJob;
  readonly #options: RshOptions;
  readonly #conversation: Conversation;
  readonly #program: string;
  readonly #stopped = new AbortController();
  #socket: Socket | undefined;
  #stderr: StderrPort | undefined;

  constructor(job: RemoteJob, options: RshOptions) {
    this.#job = job;
    this.#options = options;
    const mark = newMark();
    this.#program = programFor(job.work, mark);
    this.#conversation = new Conversation(job, mark, () => this.#close());
    this.ended = this.#run();
  }

  stop(): void {
    this.#stopped.abort();
    this.#close();
  }

  /** Whoever waits for the end of the connections has it. */
  #close(error?: Error): void {
    if (this.#socket?.readableEnded === false) this.#conversation.closedFirst = true;
    this.#socket?.destroy(error);
    this.#stderr?.close();
  }

  async #run(): Promise<RemoteEnd> {
    let phase: Phase = 'resolve';
    try {
      const address = await addressOf(this.#job.host);
      phase = 'connect';
      const { connectTimeoutMs, port = PORT } = this.#job;
      const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(connectTimeoutMs)]);
      this.#socket = await this.#options.connect(address, port, signal);
      // Whoever reads from it is told as well.
      this.#socket.on('error', () => undefined);
      phase = 'auth';
      if (this.#options.hasStderr) this.#stderr = await StderrPort.open(this.#socket.localAddress);
      if (this.#stopped.signal.aborted) this.#close();
      const answer = await this.#talk(this.#socket);
      return await this.#conversation.end((words) => this.#refusal(answer, words));
    } catch (error) {
      return await this.#conversation.end(() => failure(phase, error, this.#job), lostBy(error));
    } finally {
      this.#socket?.destroy();
      this.#stderr?.close();
    }
  }

  /** The server's answer to who asks: 0 when it takes the command, or says so. */
  async #talk(socket: Socket): Promise<number | undefined> {
    socket.setNoDelay(true);
    socket.write(`${this.#stderr?.port ?? ''}\0`);
    // Who asks, as whom, and what: a server that is to make a second connection has made it before it is told.
    const stderr = this.#stderr?.connected.then((connection) => {
      this.#ask(socket);
      return this.#readErrors(connection);
    });
    if (stderr === undefined) this.#ask(socket);
    else stderr.catch(() => undefined);
    // The answer is waited for as long as the connection may be; after that the command takes its time.
    const unanswered = setTimeout(() => {
      this.#close(new Error(`${this.#job.host} does not run the command`));
    }, this.#job.connectTimeoutMs);
    let answer: number | undefined;
    try {
      for await (const received of socket) {
        let bytes = received as Buffer;
        if (answer === undefined) {
          answer = bytes[0] ?? 0;
          bytes = bytes.subarray(1);
          if (answer === 0) this.#send(socket);
        }
        if (answer === 0) await this.#conversation.output(bytes);
        else await this.#conversation.errors(bytes);
        if (this.#conversation.group !== undefined) clearTimeout(unanswered);
      }
    } catch (error) {
      // When we have closed it, that is its end.
      if (!this.#conversation.isOver) throw error;
    } finally {
      clearTimeout(unanswered);
    }
    this.#conversation.expectClose();
    if (this.#conversation.group !== undefined) await stderr;
    return answer;
  }

  #ask(socket: Socket): void {
    const { user = userInfo().username } = this.#job;
    socket.write(`${userInfo().username}\0${user}\0${COMMAND_LINE}\0`);
  }

  /** To a server that has answered: before that it may take what it reads for its own. */
  #send(socket: Socket): void {
    const { input, work } = this.#job;
    socket.write(this.#program);
    // Half-closed only when input was sent to its end: otherwise this side would have closed first.
    if (work.takesInput) input?.pipe(socket);
  }

  async #readErrors(connection: Socket): Promise<void> {
    try {
      for await (const bytes of connection) await this.#conversation.errors(bytes as Buffer);
    } catch (error) {
      // It ends with the other one, by whomever.
      if (!['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'].includes(errorCode(error) ?? '')) throw error;
    }
  }

  #refusal(answer: number | undefined, words: string): Failure {
    const out = this.#options.hasStderr ? ', and has it a port left for stderr' : '';
    if (answer === undefined)
      return refused(
        `the server closed the connection without a word: does it trust this host and its ports${out}?`,
      );
    // Some servers take the command and refuse it in its output.
    return refused(words === '' ? 'the server ended without running the command' : words);
  }
}

/** An address of the host. @throws {Error} ENOTFOUND, EAI_AGAIN */
async function addressOf(host: string): Promise<string> {
  return isIP(host) === 0 ? (await lookup(host)).address : host;
}

function failure(phase: Phase, error: unknown, { host, port = PORT }: RemoteJob): Failure {
  const code = errorCode(error);
  if (phase === 'resolve') return { phase, text: `there is no host ${host} (${code})` };
  if (code === 'ERR_HOLDFAST_NO_PORT' || code === 'ERR_HOLDFAST_ADDRESS')
    return { phase: 'port', text: errorText(error) };
  if (code === 'ECONNREFUSED')
    return { phase, text: `${host} has no rshd at port ${port}: connection refused` };
  if (error instanceof DOMException) return { phase, text: `${host} does not answer at port ${port}` };
  return { phase, text: errorText(error) };
}

function lostBy(error: unknown): string {
  return `the connection ended before the command: ${errorText(error)}`;
}

function refused(text: string): Failure {
  return { phase: 'auth', text };
}
