import { get } from 'node:http';

/** The pid that a server of the benches answers with; undefined when it does not answer. On a connection of its own. */
export function ask(port: number, timeoutMs = 1_000): Promise<number | undefined> {
  return new Promise((resolve) => {
    const request = get({ host: '127.0.0.1', port, agent: false, timeout: timeoutMs }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve(pidIn(body)));
      response.on('error', () => resolve(undefined));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(undefined)); // refused, reset, or out of time
  });
}

function pidIn(body: string): number | undefined {
  const pid = /\bpid (\d+)/.exec(body)?.[1];
  return pid === undefined ? undefined : Number(pid);
}
