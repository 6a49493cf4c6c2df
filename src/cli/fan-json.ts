import type { FanResult, Output } from '../fan/fan.js';
import { stream } from './stream.js';

/** One host's result as a line of JSON, piece by piece: outputs may be larger than a string can be. */
export async function writeJson({ stdout, stderr, ms, ...result }: FanResult): Promise<void> {
  const head = JSON.stringify({ ...result, ms: Math.round(ms) }).slice(0, -1);
  await stream(head);
  await writeOutput('stdout', stdout);
  await writeOutput('stderr', stderr);
  await stream('}\n');
}

/** Text as it is; what is no UTF-8 as base64, so that no byte of it is lost. */
async function writeOutput(name: string, output: Output): Promise<void> {
  if (await isText(output)) {
    await stream(`,"${name}":"`);
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    for await (const bytes of output.stream())
      await stream(JSON.stringify(decoder.decode(bytes as Buffer, { stream: true })).slice(1, -1));
  } else {
    await stream(`,"${name}Encoding":"base64","${name}":"`);
    let rest = Buffer.alloc(0);
    for await (const bytes of output.stream()) {
      const all = Buffer.concat([rest, bytes as Buffer]);
      const whole = all.length - (all.length % 3);
      await stream(all.toString('base64', 0, whole));
      rest = all.subarray(whole);
    }
    await stream(rest.toString('base64'));
  }
  await stream('"');
}

async function isText(output: Output): Promise<boolean> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    for await (const bytes of output.stream()) decoder.decode(bytes as Buffer, { stream: true });
    decoder.decode();
    return true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}
