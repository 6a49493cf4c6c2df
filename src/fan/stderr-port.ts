import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { errorCode, HoldfastError } from '../errors.js';

const [FIRST, LAST] = [1023, 512] as const;

/**
 * A reserved port of ours at which a server of rcmd(3) connects for a command's stderr. It lets in one connection, and only from
 * a reserved port: anybody may connect, but only root from there. The address may be another one of the server's machine.
 *
 * Each takes a reserved port of the server too, which stays in TIME_WAIT there, since the server closes first: it has 512 of them,
 * for some 500 commands a minute.
 */
export class StderrPort {
  readonly port: number;
  /** Rejected when it is closed before. */
  readonly connected: Promise<Socket>;
  readonly #server: Server;
  #connection: Socket | undefined;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
    this.connected = new Promise((resolve, reject) => {
      server.on('connection', (socket) => {
        const from = socket.remotePort ?? 0;
        if (from < LAST || from > FIRST || this.#connection !== undefined) {
          socket.destroy();
          return;
        }
        this.#connection = socket;
        server.close();
        resolve(socket);
      });
      server.once('close', () => reject(new Error('the server made no connection for stderr')));
    });
    // Who does not wait for it does not miss it.
    this.connected.catch(() => undefined);
  }

  /**
   * @param host the address by which the server knows us.
   * @throws {HoldfastError} ERR_HOLDFAST_NO_PORT: others listen at each. {Error} EACCES
   */
  static async open(host: string | undefined): Promise<StderrPort> {
    for (let port = FIRST; port >= LAST; port--) {
      const server = createServer();
      try {
        server.listen({ port, host, exclusive: true, backlog: 1 });
        await once(server, 'listening');
        return new StderrPort(server, port);
      } catch (error) {
        if (errorCode(error) !== 'EADDRINUSE') throw error;
      }
    }
    const text = `no port from ${LAST} to ${FIRST} is left to listen at for stderr: run fewer at a time, or without --rsh-stderr`;
    throw new HoldfastError('ERR_HOLDFAST_NO_PORT', text);
  }

  close(): void {
    this.#server.close();
    this.#connection?.destroy();
  }
}
