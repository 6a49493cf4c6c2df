import { expect, test } from 'vitest';
import { statusLine } from '../../src/keeper/service-manager.js';
import type { KeeperState, SocketState, WorkerState } from '../../src/keeper/state.js';

test('the status is one line of what serves where, and how far a reload is', () => {
  const status = (changed: Partial<KeeperState>): string => statusLine({ ...STATE, ...changed });
  expect(status({})).toBe('serving 127.0.0.1:8080, generation 2');
  expect(status({ phase: 'starting', sockets: [] })).toBe('starting, generation 2');
  expect(status({ phase: 'backing-off', sockets: [socket('127.0.0.1:8080', false)] })).toBe(
    'backing-off, generation 2',
  );
  expect(status({ sockets: [socket('127.0.0.1:8080'), socket('[::1]:8080')] })).toBe(
    'serving 127.0.0.1:8080 [::1]:8080, generation 2',
  );
  const workers = [worker(2), worker(2), worker(1)];
  expect(status({ workers, reload: 'draining' })).toBe(
    'serving 127.0.0.1:8080, generation 2, 2 workers, the former one finishes what it has',
  );
  expect(status({ reload: 'starting' })).toMatch(/, reloading: the next one is starting$/);
});

const STATE: KeeperState = {
  version: 1,
  name: 'app',
  holdfast: '0.1.0',
  pid: 10,
  startTime: 1,
  command: ['server'],
  directory: '/',
  program: { command: [], directory: '/' },
  phase: 'serving',
  starts: 1,
  since: 0,
  generation: 2,
  reload: 'steady',
  worker: null,
  workers: [worker(2)],
  lastEnd: null,
  sockets: [socket('127.0.0.1:8080')],
  paused: false,
};

function worker(generation: number): WorkerState {
  return { pid: 11, startTime: 1, generation, phase: 'serving' };
}

function socket(address: string, served = true): SocketState {
  return { address, inode: 1, served, waiting: 0 };
}
