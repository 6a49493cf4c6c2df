// The load as a process of its own, in its own network namespace if need be. Says `load started` on stderr; ends
// after --duration or at SIGTERM or SIGINT, and prints the result as one line of JSON.
// Usage: node load-main.js --port N [--host IP] [--path /] [--rate 100] [--timeout 5000] [--duration MS] [--max-open N] [--answers]

import { parseArgs } from 'node:util';
import { startLoad } from './load.js';

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    host: { type: 'string' },
    path: { type: 'string' },
    rate: { type: 'string' },
    timeout: { type: 'string' },
    duration: { type: 'string' },
    'max-open': { type: 'string' },
    answers: { type: 'boolean' },
  },
});
const number = (text) => (text === undefined ? undefined : Number(text));

const load = startLoad({
  host: values.host,
  port: number(values.port),
  path: values.path,
  ratePerSecond: number(values.rate),
  timeoutMs: number(values.timeout),
  maxOpen: number(values['max-open']),
  keepAnswers: values.answers,
});
const timer = values.duration === undefined ? undefined : setTimeout(stop, Number(values.duration));
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
process.on('SIGUSR2', () => process.stderr.write(`counts ${JSON.stringify(load.counts())}\n`));
process.stderr.write('load started\n'); // from now on a signal gives the result

async function stop() {
  clearTimeout(timer);
  process.stdout.write(`${JSON.stringify(await load.stop())}\n`);
}
