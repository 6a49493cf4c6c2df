import fc from 'fast-check';
import { expect, test } from 'vitest';
import { foldHosts, type HostSources, parseHosts } from '../../src/fan/host-list.js';

const LISTS: Readonly<Record<string, readonly string[]>> = {
  web1: ['web1'],
  'web1,web2': ['web1', 'web2'],
  ' web1 , web2 ': ['web1', 'web2'],
  'web1,web1,web[1-2]': ['web1', 'web2'],
  'web[1-3]': ['web1', 'web2', 'web3'],
  'web[01-03]': ['web01', 'web02', 'web03'],
  'web[8-11]': ['web8', 'web9', 'web10', 'web11'],
  'web[0-10/5]': ['web0', 'web5', 'web10'],
  'web[008-010]x': ['web008x', 'web009x', 'web010x'],
  'web[1,3,7-9/2]': ['web1', 'web3', 'web7', 'web9'],
  'rack[1-2]-[a,b]': ['rack1-a', 'rack1-b', 'rack2-a', 'rack2-b'],
  'user@web[1-2].example.com': ['user@web1.example.com', 'user@web2.example.com'],
  'web[1-5]!web[2-4]': ['web1', 'web5'],
  'web[1-3]&web[2-9]': ['web2', 'web3'],
  'web[1-3]^web[2-4]': ['web1', 'web4'],
  'web[1-3]!web2,web2': ['web1', 'web3', 'web2'],
  '10.0.0.[1-2]': ['10.0.0.1', '10.0.0.2'],
  '::1': ['::1'],
  '-host': ['-host'],
};

for (const [text, hosts] of Object.entries(LISTS)) {
  test(`${text} is ${hosts.join(' ')}`, () => {
    expect(parseHosts(text)).toEqual(hosts);
  });
}

const WRONG: Readonly<Record<string, readonly [number, string]>> = {
  '': [1, 'there is no name'],
  'web1,': [6, 'there is no name'],
  ',web1': [1, 'there is no name'],
  'web[5-1]': [5, 'ends before it begins: 5-1'],
  'web[a-c]': [5, 'from a number to a number'],
  'web[1-]': [5, 'has no end'],
  'web[-3]': [5, 'from a number to a number'],
  'web[]': [5, 'nothing in these brackets'],
  'web[1,,2]': [7, 'nothing in these brackets'],
  'web[1-3': [4, 'this [ has no ]'],
  'web1-3]': [7, 'no [ before this ]'],
  'web[8-012]': [5, 'two widths'],
  'web[001-3]': [5, 'two widths'],
  'web[1-3/0]': [5, 'a step'],
  'web[1-3/x]': [5, 'a step'],
  'web1 web2': [6, 'where a comma should'],
  'web[1-2000000]': [5, 'more than 100000'],
  'web[1-1000][1-1000]': [1, 'more than 100000'],
  '@': [1, 'a group has a name'],
  '@nobody': [1, 'no group nobody'],
  '^': [1, 'a file has a name'],
  '^hosts': [1, 'cannot be read'],
};

for (const [text, [column, what]] of Object.entries(WRONG)) {
  test(`"${text}" is refused at column ${column}: ${what}`, () => {
    expect(() => parseHosts(text)).toThrowError(
      expect.objectContaining({
        code: 'ERR_HOLDFAST_HOSTS',
        message: expect.stringMatching(new RegExp(`column ${column}: .*${what.replace(/[[\]]/g, '\\$&')}`)),
      }),
    );
  });
}

const SOURCES: HostSources = {
  group: (name) => ({ web: 'web[1-3]', all: '@web,db1', loop: '@loop', wrong: 'web[3-1]' })[name],
  file: (path) => {
    if (path === 'hosts') return '# the machines\n\n@web\ndb[1-2] # two\n';
    if (path === 'loop') return '^loop';
    if (path === 'wrong') return 'web1\nweb[\n';
    throw new Error('no such file');
  },
};

test('groups and files stand for their lists, also in sets', () => {
  expect(parseHosts('@all!web2', SOURCES)).toEqual(['web1', 'web3', 'db1']);
  expect(parseHosts('^hosts,db3', SOURCES)).toEqual(['web1', 'web2', 'web3', 'db1', 'db2', 'db3']);
});

test.each([
  ['@loop', 'in the group loop: hosts "@loop", column 1: the group loop has itself in it'],
  ['^loop', 'the file loop has itself in it'],
  ['@wrong', 'in the group wrong: hosts "web[3-1]", column 5'],
  ['^wrong', 'in wrong, line 2: hosts "web[", column 4'],
  ['web1,^gone', 'column 6: gone cannot be read: no such file'],
])('what is wrong in %s is told where it stands', (text, message) => {
  expect(() => parseHosts(text, SOURCES)).toThrowError(
    expect.objectContaining({ code: 'ERR_HOLDFAST_HOSTS', message: expect.stringContaining(message) }),
  );
});

test.each([
  [['web1', 'web2', 'web3', 'db1'], 'web[1-3],db1'],
  [['web01', 'web02', 'web10', 'web7'], 'web[01-02,10],web7'],
  [['web9', 'web10', 'web11'], 'web[9-11]'],
  [['web08', 'web09', 'web10', 'web100'], 'web[08-10],web100'],
  [['a', 'b'], 'a,b'],
  [['10.0.0.3', '10.0.0.1', '10.0.0.2'], '10.0.0.[1-3]'],
  [['web1.example.com', 'web2.example.com'], 'web[1-2].example.com'],
  [['web1'], 'web1'],
  [[], ''],
])('%j folds to %s', (hosts, text) => {
  expect(foldHosts(hosts)).toBe(text);
});

test('what is folded stands for the same hosts', () => {
  const name = fc.stringMatching(/^[a-c.]{0,3}\d{0,4}[a-c.]{0,2}$/).filter((text) => text !== '');
  fc.assert(
    fc.property(fc.uniqueArray(name, { minLength: 1, maxLength: 40 }), (hosts) => {
      expect([...parseHosts(foldHosts(hosts))].toSorted()).toEqual(hosts.toSorted());
    }),
    { numRuns: 2_000 },
  );
});
