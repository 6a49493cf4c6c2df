import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseListen } from '../../src/keeper/listen-address.js';
import { quoteArgument, type UnitFacts, unitFiles } from '../../src/keeper/unit-file.js';
import { allOf, lastOf, readCommand, readUnit, readWords } from '../support/unit-file.js';

const facts: UnitFacts = {
  name: 'shop',
  description: 'shop, kept by holdfast: node server.js',
  command: ['/usr/bin/node', '/opt/main.cjs', 'run', '--', '/usr/bin/node', 'server.js'],
  reload: ['/usr/bin/node', '/opt/main.cjs', 'reload', 'shop'],
  directory: '/srv/shop',
  isUserUnit: false,
  restart: 'on-failure',
  stopSignal: 'SIGTERM',
  stopTimeoutMs: 10_000,
  readyTimeoutMs: 60_000,
  drainTimeoutMs: 30_000,
  listens: [],
  sockets: [],
};

test('systemd reads every argument as it was', () => {
  const argument = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({
      unit: fc.constantFrom('%', '$', '"', "'", '\\', ';', ' ', '\n', '\t', '{', '}', 'a', 'n', '#'),
    }),
  );
  fc.assert(
    fc.property(
      fc.array(
        argument.map((text) => text.replaceAll('\0', '')),
        { minLength: 1 },
      ),
      (words) => {
        const line = words.map(quoteArgument).join(' ');
        expect(line).not.toMatch(/[\n\r]/);
        expect(readCommand(line)).toEqual(words);
      },
    ),
  );
});

test('what needs no quotes has none', () => {
  expect(quoteArgument('--listen=127.0.0.1:8080')).toBe('--listen=127.0.0.1:8080');
  expect(quoteArgument('100%')).toBe('100%%');
  expect(quoteArgument('$HOME')).toBe('$$HOME');
  expect(quoteArgument('')).toBe('""');
  expect(quoteArgument(';')).toBe('";"');
});

test('the program is not looked up among the variables, and a folder is taken as it stands', () => {
  const command = ['/opt/a $b/node', '$x'];
  const unit = serviceOf({ command, reload: command, directory: '/srv/50% "off"' });
  for (const key of ['ExecStart', 'ExecReload']) {
    expect(readWords(allOf(unit, 'Service', key)[0] ?? '')).toEqual(['/opt/a $b/node', '$$x']);
  }
  expect(lastOf(unit, 'Service', 'WorkingDirectory')).toBe('/srv/50% "off"');
  expect(() => unitFiles({ ...facts, directory: '/srv/a\nb' })).toThrow(
    'a unit file cannot name such a folder',
  );
});

test('a PATH of its own is there when systemd would not find Node', () => {
  const path = '/home/a b/50%/bin:/usr/bin';
  const [line = ''] = allOf(serviceOf({ path }), 'Service', 'Environment');
  expect(readWords(line)).toEqual([`PATH=${path}`]);
  expect(allOf(serviceOf({}), 'Service', 'Environment')).toEqual([]);
});

test('its times follow from the options', () => {
  const service = (changed: Partial<UnitFacts>, key: string) => lastOf(serviceOf(changed), 'Service', key);
  expect(service({}, 'TimeoutStopSec')).toBe('20s');
  expect(service({ stopTimeoutMs: 300_500 }, 'TimeoutStopSec')).toBe('311s');
  expect(service({}, 'TimeoutStartSec')).toBe('110s');
  expect(service({ drainTimeoutMs: 600_000 }, 'TimeoutStartSec')).toBe('680s');
  expect(service({ drainTimeoutMs: 0, readyTimeoutMs: 0 }, 'TimeoutStartSec')).toBe('90s');
});

test('it is started again as --restart says, and always when it was killed', () => {
  const restart = (policy: UnitFacts['restart']) =>
    lastOf(serviceOf({ restart: policy }), 'Service', 'Restart');
  // Each of them after SIGKILL, see the table in systemd.service(5).
  expect([restart('always'), restart('on-failure'), restart('never')]).toEqual([
    ...['always', 'on-failure', 'on-abnormal'],
  ]);
  expect(lastOf(serviceOf({ stopSignal: 'SIGINT' }), 'Service', 'SuccessExitStatus')).toBe('130');
});

test('a user has a state folder of its own, and the right to bind low ports where they are asked for', () => {
  const unit = serviceOf({ user: 'www-data', group: 'web', listens: [parseListen('80')] });
  const value = (key: string) => lastOf(unit, 'Service', key);
  expect([value('User'), value('Group'), value('RuntimeDirectory'), value('RuntimeDirectoryMode')]).toEqual([
    ...['www-data', 'web', 'holdfast-shop', '0700'],
  ]);
  expect(value('Environment')).toBe('HOLDFAST_STATE_DIR=/run/holdfast-shop');
  expect(value('AmbientCapabilities')).toBe('CAP_NET_BIND_SERVICE');
  for (const other of [serviceOf({}), serviceOf({ user: 'root' }), serviceOf({ isUserUnit: true })]) {
    expect(lastOf(other, 'Service', 'RuntimeDirectory')).toBeUndefined();
    expect(lastOf(other, 'Service', 'AmbientCapabilities')).toBeUndefined();
  }
});

test('each address of --socket has a unit, which the service names', () => {
  const sockets = ['8080,name=web', '[::]:443,v6only,backlog=10', 'unix:/run/shop.sock,name=admin'].map(
    parseListen,
  );
  const files = unitFiles({ ...facts, sockets });
  expect(files.map(({ name }) => name)).toEqual([
    ...['shop.service', 'shop.socket', 'shop-2.socket', 'shop-admin.socket'],
  ]);
  expect(lastOf(readUnit(files[0]?.text ?? ''), 'Service', 'Sockets')).toBe(
    'shop.socket shop-2.socket shop-admin.socket',
  );
  const of = (index: number, key: string) => lastOf(readUnit(files[index]?.text ?? ''), 'Socket', key);
  expect([of(1, 'ListenStream'), of(1, 'BindIPv6Only'), of(1, 'FileDescriptorName')]).toEqual([
    ...['8080', 'both', 'web'],
  ]);
  expect([of(2, 'ListenStream'), of(2, 'BindIPv6Only'), of(2, 'Backlog')]).toEqual([
    '[::]:443',
    'ipv6-only',
    '10',
  ]);
  expect([of(3, 'ListenStream'), of(3, 'BindIPv6Only'), of(3, 'Service')]).toEqual([
    ...['/run/shop.sock', undefined, 'shop.service'],
  ]);
  expect(() => unitFiles({ ...facts, sockets: [parseListen('unix:shop.sock')] })).toThrow('absolute paths');
});

function serviceOf(changed: Partial<UnitFacts>): ReturnType<typeof readUnit> {
  return readUnit(unitFiles({ ...facts, ...changed })[0]?.text ?? '');
}
