import { expect, test } from 'vitest';
import { predictBind } from '../../src/model/bind.js';
import { step } from '../../src/model/step.js';
import { runOnModel } from '../lab/on-model.js';

test('predictBind says what bind does, and by which rule', () => {
  const rules = new Set<string>();
  for (let seed = 1; seed <= 1_500; seed++) {
    runOnModel(seed, 'mixed', (world, operation) => {
      if (operation.type !== 'bind') return;
      const socket = world.sockets.get(operation.socket);
      if (socket === undefined) throw new Error(`no socket ${operation.socket}`);
      const predicted = predictBind(world, socket, operation);
      expect(predicted, `seed ${seed}`).toEqual(step(world, operation).outcome);
      rules.add(predicted.rule);
    });
  }
  // Rare ones were met as well.
  for (const rule of [
    'port-left-to-connect',
    'no-automatic-port',
    'reuseport-same-user',
    'link-local-needs-device',
  ]) {
    expect([...rules]).toContain(rule);
  }
});
