import { createServer } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import type { BindRequest } from '../../src/diagnosis/foresight.js';
import type { PortView } from '../../src/diagnosis/port-view.js';
import { predictFrom, predictLive } from '../../src/diagnosis/predict.js';
import { close } from '../../src/kernel/fd.js';
import {
  bind,
  listen,
  localAddress,
  setReuseAddress,
  setReusePort,
  streamSocket,
} from '../../src/kernel/socket.js';
import type { InetAddress } from '../../src/model/address.js';
import { kernelVersion } from '../../src/model/kernel-rules.js';
import { DEFAULT_SYSCTLS, LOOPBACK_ONLY } from '../../src/model/world.js';

const ADDRESS: InetAddress = { family: 'ipv4', host: '127.0.0.1', port: 8080 };

const REQUEST: BindRequest = {
  protocol: 'tcp',
  address: ADDRESS,
  uid: process.getuid?.() ?? 0,
  reuse: false,
  reusePort: false,
  v6only: undefined,
  device: '',
  freebind: false,
  mayBindLow: false,
};

/** A socket of ours with these options, and what a bind of another one at its address does. */
function observed(options: {
  readonly holderReuse: boolean;
  readonly holderReusePort: boolean;
  readonly listens: boolean;
  readonly reuse: boolean;
  readonly reusePort: boolean;
  readonly host: string;
}): { readonly address: InetAddress; readonly code: string | null } {
  const holder = streamSocket('ipv4');
  onTestFinished(() => close(holder));
  setReuseAddress(holder, options.holderReuse);
  setReusePort(holder, options.holderReusePort);
  bind(holder, { family: 'ipv4', host: '127.0.0.1', port: 0 });
  const port = (localAddress(holder) as InetAddress).port;
  if (options.listens) listen(holder, 1);
  const address: InetAddress = { family: 'ipv4', host: options.host, port };
  const report = predictLive({ ...REQUEST, address, reuse: options.reuse, reusePort: options.reusePort });
  const asker = streamSocket('ipv4');
  onTestFinished(() => close(asker));
  setReuseAddress(asker, options.reuse);
  setReusePort(asker, options.reusePort);
  let code: string | null = null;
  try {
    bind(asker, address);
  } catch (error) {
    ({ code } = error as { code: string });
  }
  expect(report.outcomes.map((outcome) => outcome.code)).toContain(code);
  // The flags of our own sockets are seen, so only what the port remembers of SO_REUSEPORT may be open.
  if (!options.reusePort) expect(report.outcomes).toHaveLength(1);
  return { address, code };
}

const booleans = [false, true];

for (const listens of booleans) {
  test(`what is predicted for a socket that ${listens ? 'listens' : 'is bound'} comes true, whatever the flags`, () => {
    const codes = new Set<string | null>();
    for (const holderReuse of booleans) {
      for (const holderReusePort of booleans) {
        for (const reuse of booleans) {
          for (const reusePort of booleans) {
            for (const host of ['127.0.0.1', '127.0.0.2', '0.0.0.0']) {
              codes.add(observed({ holderReuse, holderReusePort, listens, reuse, reusePort, host }).code);
            }
          }
        }
      }
    }
    expect(codes).toEqual(new Set([null, 'EADDRINUSE']));
  });
}

test('who is in the way is named, with its process', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const { outcomes } = predictLive({ ...REQUEST, address: { ...ADDRESS, port } });
  expect(outcomes).toHaveLength(1);
  expect(outcomes[0]).toMatchObject({
    ok: false,
    code: 'EADDRINUSE',
    holder: { state: 'LISTEN', local: `127.0.0.1:${port}`, peer: null },
  });
  expect(outcomes[0]?.holder?.holders.map(({ pid }) => pid)).toContain(process.pid);
});

test('what cannot be seen and decides is said, not guessed', () => {
  const view: PortView = {
    protocol: 'tcp',
    sockets: [],
    leftovers: [
      {
        state: 'TIME_WAIT',
        local: ADDRESS,
        interfaceIndex: 0,
        count: 3,
        minExpiresMs: 1_000,
        maxExpiresMs: 50_000,
        peerHosts: 1,
        somePeers: ['127.0.0.1'],
      },
    ],
    hiddenPids: [],
    skipped: 0,
    machine: { kernel: kernelVersion('6.18.0'), sysctls: DEFAULT_SYSCTLS, addresses: LOOPBACK_ONLY },
  };
  const plain = predictFrom(view, REQUEST);
  expect(plain.outcomes.map(({ code }) => code)).toEqual(['EADDRINUSE']);
  const withReuse = predictFrom(view, { ...REQUEST, reuse: true });
  expect(new Set(withReuse.outcomes.map(({ code }) => code))).toEqual(new Set(['EADDRINUSE', null]));
  expect(withReuse.unknown).toContain('whether 127.0.0.1:8080 in TIME_WAIT has SO_REUSEADDR or SO_REUSEPORT');
});

test('port 0 is left to the kernel, and a foreign address is refused', () => {
  expect(predictLive({ ...REQUEST, address: { ...ADDRESS, port: 0 } }).outcomes).toMatchObject([
    { ok: true, rule: 'automatic-port' },
  ]);
  expect(predictLive({ ...REQUEST, address: { ...ADDRESS, host: '192.0.2.1' } }).outcomes).toMatchObject([
    { ok: false, code: 'EADDRNOTAVAIL', rule: 'address-not-local' },
  ]);
});
