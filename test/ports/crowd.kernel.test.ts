import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { inFreshNetns } from '../support/netns.js';
import { start } from '../support/process.js';
import { LIBRARY } from './told.js';

/** How many processes reserve at the same time. */
const RESERVERS = Number(process.env.HOLDFAST_TEST_RESERVERS ?? 8);
const EACH = 20;
const CONNECTORS = RESERVERS / 2;
const TOTAL = RESERVERS * EACH;

const crowd = fileURLToPath(new URL('crowd.js', import.meta.url));

/** Beside what is reserved, room for what the connectors have at a time. */
const RANGES = {
  'wide, with connectors': { mode: 'batch', connectors: CONNECTORS, ports: TOTAL * 2.5 },
  'wide, listened on at once': { mode: 'soon', connectors: CONNECTORS, ports: TOTAL * 2.5 },
  narrow: { mode: 'batch', connectors: 0, ports: Math.ceil(TOTAL * 1.025) },
};

for (const [name, { mode, connectors, ports }] of Object.entries(RANGES)) {
  testNeeding('netns')(
    `${RESERVERS} processes reserve ${EACH} ports each, range ${name}: no two get the same, and all are listened on`,
    async () => {
      const range = `20000 ${20_000 + ports - 1}`;
      const process_ = start(
        inFreshNetns(
          [process.execPath, crowd, 'crowd', LIBRARY, mode, `${RESERVERS}`, `${EACH}`, `${connectors}`],
          { sysctls: { 'net.ipv4.ip_local_port_range': range } },
        ),
      );
      const [line] = await process_.line(/^\{.*\}$/, { timeoutMs: 20_000 + RESERVERS * 1_000 });
      const { connections, ...rest } = JSON.parse(line);
      expect(rest).toEqual({
        ...{ reserved: TOTAL, distinct: TOTAL, refused: [] },
        ...{ listened: TOTAL, failed: [], idleConnectors: 0 },
      });
      expect(connections).toBeGreaterThanOrEqual(connectors * EACH);
    },
    60_000 + RESERVERS * 2_000,
  );
}

const CONTENDERS = 6;
const CONTESTED = 60;

testNeeding('netns')(
  `${CONTENDERS} processes that want the same ${CONTESTED} ports by number: each has one winner, and the others are told`,
  async () => {
    const process_ = start(
      inFreshNetns([
        ...[process.execPath, crowd, 'crowd', LIBRARY, 'same'],
        ...[`${CONTENDERS}`, `${CONTESTED}`, '0'],
      ]),
    );
    const [line] = await process_.line(/^\{.*\}$/, { timeoutMs: 60_000 });
    const { refused, ...rest } = JSON.parse(line);
    expect(rest).toMatchObject({ reserved: CONTESTED, distinct: CONTESTED, listened: CONTESTED, failed: [] });
    expect(refused).toHaveLength((CONTENDERS - 1) * CONTESTED);
    expect(new Set(refused)).toEqual(new Set(['ERR_HOLDFAST_NO_PORT']));
  },
  90_000,
);
