import { expect, test } from 'vitest';
import { inside } from '../kernel/inside.js';

const WAIT_MS = 100;

test('a rehearsal waits for no other keeper of the network namespace', async () => {
  const rehearsal = new URL('../../dist/keeper/rehearsal.js', import.meta.url).href;
  // Its first round is over when it returns, and learns an address, which would wait for who has the lock.
  const took = await inside(
    ['lock', 'poller'],
    `const { rehearse } = await import(${JSON.stringify(rehearsal)});
    await kernel.startThreadPool();
    const poller = new kernel.Poller();
    const took = [];
    for (let i = 0; i < 10; i++) {
      let rest;
      kernel.oneAtATime('/proc/self/ns/net', () => {
        const sinceMs = performance.now();
        rest = rehearse(poller, true);
        took.push(performance.now() - sinceMs);
      });
      await rest;
    }
    poller.close();
    tell(took);`,
  );
  expect(Math.min(...(took as number[]))).toBeLessThan(WAIT_MS);
});
