import type { Call, Program, Slot } from '../../src/lab/call.js';
import {
  type Mix,
  PORTS,
  type Random,
  random,
  randomCalls,
  randomHabits,
  randomSysctls,
} from '../../src/lab/generator.js';
import { STAGE_ADDRESSES } from '../../src/lab/stage.js';
import { type Operation, type Step, step } from '../../src/model/step.js';
import {
  type Chooser,
  DEFAULT_SYSCTLS,
  emptyWorld,
  type Id,
  NotModelled,
  type World,
} from '../../src/model/world.js';

const FIRST_PORT = 20_000;
const CALLS = 22;
const USERS = [0, 0, 0, 1000];

export interface OnModel {
  readonly program: Program;
  /** `ok` or the error's name, for each call. */
  readonly outcomes: readonly string[];
}

/** Sees a call before it is done; `perform` does it, and gives undefined where the model says that it does not know. */
export type Look = (before: World, operation: Operation, perform: () => Step | undefined) => void;

/** A random program as `lab fuzz` makes them, on the model alone, which chooses where the kernel would. */
export function runOnModel(seed: number, mix: Mix, look?: Look): OnModel {
  const rng = random(seed);
  const sysctls = randomSysctls(rng);
  const habits = randomHabits(rng);
  let world = emptyWorld({ sysctls: actual(sysctls), addresses: STAGE_ADDRESSES });
  const ids = new Map<Slot, Id>();
  const calls: Call[] = [];
  const outcomes: string[] = [];
  let next = 0;
  for (let tries = 0; calls.length < CALLS && tries < 4 * CALLS; tries++) {
    const batch = randomCalls(rng, {
      world,
      mix,
      habits,
      users: USERS,
      mayDropRights: true,
      slots: [...ids.keys()],
      next,
      idAt: (slot) => ids.get(slot),
      offsetOf: (port) => (port >= FIRST_PORT && port < FIRST_PORT + PORTS ? port - FIRST_PORT : undefined),
    });
    for (const call of batch) {
      const operation = operationOf(call, 'slot' in call ? (ids.get(call.slot) ?? 0) : 0);
      const choices = rng.below(2 ** 31);
      const before = world;
      const perform = (): Step | undefined => known(() => step(before, operation, anyOf(random(choices))));
      look?.(before, operation, perform);
      const done = perform();
      if (done === undefined) continue;
      world = done.world;
      calls.push(call);
      outcomes.push(done.outcome.ok ? 'ok' : done.outcome.code);
      if (call.call === 'close') ids.delete(call.slot);
      if (done.outcome.ok && done.outcome.made !== undefined) ids.set(next++, done.outcome.made);
    }
  }
  return { program: { sysctls, calls }, outcomes };
}

/** Any of the options, and now and then none where that may be. */
function anyOf(rng: Random): Chooser {
  return ({ options, mayFail }) => {
    const at = rng.below(options.length + (mayFail ? 1 : 0));
    return options[at];
  };
}

function known(work: () => Step): Step | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof NotModelled) return undefined;
    throw error;
  }
}

function actual(sysctls: Program['sysctls']): World['sysctls'] {
  const { portRange, reservedPorts, unprivilegedPortStart } = sysctls;
  return {
    ...DEFAULT_SYSCTLS,
    ...sysctls,
    portRange: { low: FIRST_PORT + portRange.low, high: FIRST_PORT + portRange.high },
    reservedPorts: reservedPorts.map((offset) => FIRST_PORT + offset),
    unprivilegedPortStart: FIRST_PORT + unprivilegedPortStart,
  };
}

function operationOf(call: Call, socket: Id): Operation {
  const address = (
    host: string,
    offset: number | null,
  ): Extract<Operation, { type: 'connect' }>['address'] => ({
    family: host.includes(':') ? 'ipv6' : 'ipv4',
    host,
    port: offset === null ? 0 : FIRST_PORT + offset,
  });
  const process = 'p';
  switch (call.call) {
    case 'socket':
      return { type: 'socket', protocol: call.protocol, family: call.family, uid: call.uid, process };
    case 'set': {
      const { call: _call, slot: _slot, ...setting } = call;
      return { type: 'set', socket, ...setting };
    }
    case 'bind':
      return { type: 'bind', socket, address: address(call.host, call.port), mayBindLow: call.mayBindLow };
    case 'listen':
      return { type: 'listen', socket, backlog: call.backlog };
    case 'connect':
      return { type: 'connect', socket, address: address(call.host, call.port) };
    case 'accept':
      return { type: 'accept', socket, uid: call.uid, process };
    case 'shutdown':
      return { type: 'shutdown', socket, how: call.how };
    case 'close':
      return { type: 'close', socket, process };
    case 'disconnect':
      return { type: 'disconnect', socket };
    case 'wait':
      return { type: 'wait', ms: call.ms };
    default:
      throw new Error(`random programs have no ${call.call}`);
  }
}
