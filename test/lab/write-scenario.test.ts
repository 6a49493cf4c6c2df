import { expect, test } from 'vitest';
import type { Call } from '../../src/lab/call.js';
import { parseScenarios } from '../../src/lab/scenario.js';
import type { Action, PortWord } from '../../src/lab/script.js';
import { writeScenario } from '../../src/lab/write-scenario.js';
import { runOnModel } from './on-model.js';

for (const mix of ['tcp', 'udp'] as const) {
  test(`a random program of ${mix} sockets is read as it was written`, () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { program, outcomes } = runOnModel(seed, mix);
      const text = writeScenario(`fuzz-${seed}`, 'bind: "no": ok', program, outcomes);
      const [scenario, ...others] = parseScenarios(text, 'written.yaml');
      expect(others).toEqual([]);
      expect(scenario).toMatchObject({ id: `fuzz-${seed}`, title: 'bind: "no": ok', slow: false });
      const steps = scenario?.cases[0]?.steps ?? [];
      expect(steps.map(({ expected }) => expected)).toEqual(outcomes);
      expect(
        steps.map(({ action }) => callOf(action)),
        text,
      ).toEqual(program.calls.map(named));
    }
  });
}

test('a connection that another user accepts is written with that user', () => {
  const { program } = runOnModel(1, 'tcp');
  const calls: readonly Call[] = [
    { call: 'socket', slot: 0, protocol: 'tcp', family: 'ipv4', uid: 0 },
    { call: 'listen', slot: 0, backlog: 8 },
    { call: 'accept', slot: 0, as: 1, uid: 1000 },
  ];
  const text = writeScenario('x', 't', { ...program, calls }, ['ok', 'ok', 'EAGAIN']);
  const accept = parseScenarios(text, 'written.yaml')[0]?.cases[0]?.steps[2];
  expect(accept?.action).toMatchObject({ do: 'accept', name: 's0', as: 's1', uid: 1000 });
});

test('the settings are written with ports of the scenario', () => {
  const { program } = runOnModel(1, 'tcp');
  const sysctls = {
    ...program.sysctls,
    portRange: { low: 2, high: 5 },
    reservedPorts: [0, 3],
    unprivilegedPortStart: 1,
    autobindReuse: true,
    twReuse: 2,
    twReuseDelayMs: 1,
    timestamps: false,
    v6only: true,
    nonlocalBind4: true,
    nonlocalBind6: false,
  } as const;
  const [scenario] = parseScenarios(writeScenario('x', 't', { ...program, sysctls }, []), 'written.yaml');
  expect(scenario?.cases[0]?.sysctls).toEqual({
    ip_local_port_range: 'P+2 P+5',
    ip_local_reserved_ports: 'P,P+3',
    ip_unprivileged_port_start: 'P+1',
    ip_autobind_reuse: 1,
    tcp_tw_reuse: 2,
    tcp_tw_reuse_delay: 1,
    tcp_timestamps: 0,
    bindv6only: 1,
    ip_nonlocal_bind: 1,
    ipv6_ip_nonlocal_bind: 0,
  });
});

/** The call as a scenario has it, with names instead of numbers. Who accepts is another test's. */
function named(call: Call): Call {
  const name = (slot: number | string): string => (typeof slot === 'number' ? `s${slot}` : slot);
  if (call.call === 'accept') return { ...call, slot: name(call.slot), as: name(call.as), uid: 0 };
  return 'slot' in call ? { ...call, slot: name(call.slot) } : call;
}

function callOf(action: Action): Call {
  switch (action.do) {
    case 'socket': {
      const { name, protocol, family, uid } = action;
      return { call: 'socket', slot: name, protocol, family, uid };
    }
    case 'set': {
      const { do: _do, name, ...setting } = action;
      return { call: 'set', slot: name, ...setting };
    }
    case 'bind': {
      const { name, host, port, unprivileged } = action;
      return { call: 'bind', slot: name, host, port: offsetOf(port), mayBindLow: !unprivileged };
    }
    case 'connect':
      return { call: 'connect', slot: action.name, host: action.host, port: offsetOf(action.port) ?? 0 };
    case 'listen':
      return { call: 'listen', slot: action.name, backlog: action.backlog };
    case 'accept':
      return { call: 'accept', slot: action.name, as: action.as, uid: 0 };
    case 'shutdown':
      return { call: 'shutdown', slot: action.name, how: action.how };
    case 'disconnect':
      return { call: 'disconnect', slot: action.name };
    case 'close':
      return { call: 'close', slot: action.name };
    case 'wait':
      return { call: 'wait', ms: action.ms };
    default:
      throw new Error(`a random program does not ${action.do}`);
  }
}

/** null stands for port 0. */
function offsetOf(port: PortWord): number | null {
  if (port === 0) return null;
  if (!('letter' in port) || port.letter !== 'P')
    throw new Error(`no port of the program: ${JSON.stringify(port)}`);
  return port.plus;
}
