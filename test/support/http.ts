import { get } from 'node:http';

export interface GetOptions {
  readonly host?: string | undefined;
  readonly path?: string | undefined;
  readonly timeoutMs?: number | undefined;
}

/** The body of one GET on a connection of its own. @throws the connection's error, ETIMEDOUT after `timeoutMs` */
export function bodyOf(
  port: number,
  { host = '127.0.0.1', path = '/', timeoutMs = 5_000 }: GetOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host, port, path, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.once('end', () => resolve(body));
      response.once('error', reject);
    });
    request.setTimeout(timeoutMs, () => {
      request.destroy(Object.assign(new Error(`no answer from ${host}:${port}`), { code: 'ETIMEDOUT' }));
    });
    request.once('error', reject);
  });
}

/** The pid of the process that answers on the port. */
export async function pidOf(port: number, options?: GetOptions): Promise<number> {
  const body = await bodyOf(port, options);
  const pid = /^pid (\d+)$/m.exec(body)?.[1];
  if (pid === undefined) throw new Error(`an answer without a pid: ${body}`);
  return Number(pid);
}
