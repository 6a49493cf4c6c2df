import { expect, test } from 'vitest';
import { slabIn } from '../../bench/support/slab.js';

const TEXT = `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
tw_sock_TCPv6        224    288    256   16    1 : tunables    0    0    0 : slabdata     18     18      0
tw_sock_TCP        50656  50656    256   16    1 : tunables    0    0    0 : slabdata   3166   3166      0
`;

test('a slab is its objects and its pages', () => {
  expect(slabIn(TEXT, 'tw_sock_TCP')).toEqual({ objectBytes: 256, bytes: 3166 * 4096 });
  expect(slabIn(TEXT, 'tw_sock_TCPv6')).toEqual({ objectBytes: 256, bytes: 18 * 4096 });
});

test('a slab that is not there is undefined', () => {
  expect(slabIn(TEXT, 'tw_sock')).toBeUndefined();
  expect(slabIn('', 'tw_sock_TCP')).toBeUndefined();
});
