import { errorCode, errorText, HoldfastError } from '../errors.js';
import { destroyTcpSocket } from '../kernel/sock-destroy.js';
import { ALL_STATES, type TcpSocket, tcpSockets } from '../kernel/sock-diag.js';
import { formatAddress } from '../model/address.js';
import type { KernelVersion } from '../model/kernel-rules.js';
import type { RuleId } from '../model/rules.js';
import { step } from '../model/step.js';
import type { TcpState } from '../model/tcp-state.js';
import type { Call } from './call.js';
import { Lockstep } from './lockstep.js';
import type { Case, Scenario } from './scenario.js';
import { type Action, letterPort, type PortWord, portOfLetter, type Step } from './script.js';
import { applySysctls, enterStage } from './stage.js';
import { sysctlsOf } from './sysctls.js';

/** Outcome of a call: `ok`, the name of an error, or what was seen. */
export type Word = string;

export interface StepResult {
  readonly line: string;
  readonly expected: Word;
  readonly claimed?: Word;
  readonly model: Word;
  readonly kernel: Word;
  /** By which the model decides. */
  readonly rule?: RuleId;
  /** Every rule that took part. */
  readonly applied?: readonly RuleId[];
  /** All of the stage after the step, where that was asked for. */
  readonly sockets?: readonly StageSocket[];
}

/** A TCP socket of the stage. */
export interface StageSocket {
  /** `BOUND`: it has a port, and neither listens nor is connected. */
  readonly state: Exclude<TcpState, 'CLOSE'> | 'BOUND';
  /** `127.0.0.1:20000` */
  readonly local: string;
  readonly peer: string | null;
}

/** How a scenario is played. */
export interface PlayOptions {
  readonly kernel: KernelVersion;
  /** Whether to look at all sockets after each step. */
  readonly sockets: boolean;
  /** Called before a wait. */
  waited(ms: number): void;
}

export interface CaseResult {
  readonly when: string;
  readonly steps: readonly StepResult[];
  /** Sockets before the step that decides, and at the end. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  /** Model and kernel did the same, and so did the rest of what can be seen. */
  readonly agrees: boolean;
  /** What the claim says came true; undefined where nothing is claimed. */
  readonly holds?: boolean;
}

export type VerdictWord = 'holds' | 'does not hold here' | 'depends' | 'as expected' | 'not as expected';

export interface ScenarioResult {
  readonly id: string;
  readonly verdict: VerdictWord;
  /** Everything came out as the file says the verified kernel does. */
  readonly asExpected: boolean;
  readonly agrees: boolean;
  readonly cases: readonly CaseResult[];
}

/** Plays a scenario on the model and on the kernel, each case in a namespace of its own. */
export function play(scenario: Scenario, options: PlayOptions): ScenarioResult {
  const cases = scenario.cases.map((one) => playCase(one, options));
  const claims = cases.map(({ holds }) => holds).filter((holds) => holds !== undefined);
  const asExpected = cases.every(({ steps }) =>
    steps.every(({ kernel: seen, expected }) => seen === expected),
  );
  const verdict = claims.length === 0 ? (asExpected ? 'as expected' : 'not as expected') : judge(claims);
  return { id: scenario.id, verdict, asExpected, agrees: cases.every(({ agrees }) => agrees), cases };
}

function judge(claims: readonly boolean[]): VerdictWord {
  if (claims.every((holds) => holds)) return 'holds';
  return claims.some((holds) => holds) ? 'depends' : 'does not hold here';
}

function playCase(
  { when, sysctls: given, sysctlsAt, steps }: Case,
  { kernel, sockets, waited }: PlayOptions,
): CaseResult {
  enterStage();
  const sysctls = at(sysctlsAt, () => {
    const wanted = sysctlsOf(given);
    applySysctls(wanted, undefined);
    return wanted;
  });
  const lockstep = new Lockstep(0, sysctls, kernel);
  try {
    const decisive = steps.findIndex(({ claimed, expected }) => claimed !== undefined || expected !== 'ok');
    let before: readonly string[] = [];
    const results = steps.map((one, index) => {
      if (index === Math.max(0, decisive)) before = table();
      if (one.action.do === 'wait') waited(one.action.ms);
      const result = at(`${one.at}: "${one.line}"`, () => playStep(lockstep, one));
      return sockets ? { ...result, sockets: stageSockets() } : result;
    });
    const claimed = results.filter((result) => result.claimed !== undefined);
    return {
      when,
      steps: results,
      before,
      after: table(),
      agrees: results.every(({ model, kernel: seen }) => model === seen),
      ...(claimed.length === 0 ? {} : { holds: claimed.every((result) => result.kernel === result.claimed) }),
    };
  } finally {
    lockstep.end();
  }
}

/** A fault of the scenario that only shows when it is played is told with its place too. */
function at<T>(place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new HoldfastError('ERR_HOLDFAST_SCENARIO', `${place}: ${errorText(error)}`, error);
  }
}

function playStep(lockstep: Lockstep, { line, action, expected, claimed }: Step): StepResult {
  const common = { line, expected, ...(claimed === undefined ? {} : { claimed }) };
  if (action.do === 'see' || action.do === 'count') return { ...common, ...look(lockstep, action) };
  if (action.do === 'destroy-time-wait')
    return { ...common, ...destroy(lockstep, portOf(lockstep, action.port)) };
  const outcome = lockstep.do(callOf(lockstep, action));
  switch (outcome.type) {
    case 'agree': {
      const { outcome: result } = outcome.step;
      const word = result.ok ? 'ok' : result.code;
      return { ...common, model: word, kernel: word, rule: result.rule, applied: outcome.step.applied };
    }
    case 'disagree': {
      const { what, model, kernel } = outcome.disagreement;
      return what === 'result'
        ? { ...common, model, kernel }
        : { ...common, model: `${what} ${model}`, kernel: `${what} ${kernel}` };
    }
    case 'not-modelled':
    case 'lost':
      throw new Error(`the model says that it does not know: ${outcome.why}`);
  }
}

type Looked = Pick<StepResult, 'model' | 'kernel' | 'applied'>;

function look(lockstep: Lockstep, action: Extract<Action, { do: 'see' | 'count' }>): Looked {
  const word = (seen: string, wanted: string): Word => (seen === wanted ? 'ok' : seen);
  if (action.do === 'count') {
    const port = portOf(lockstep, action.port);
    const modelled = [...lockstep.world.timeWaits.values()].filter(
      (entry) => entry.port === port && entry.substate === action.state,
    ).length;
    const seen = tcpSockets([action.state], port).filter(({ inode }) => inode === 0).length;
    return { model: word(`${modelled}`, `${action.value}`), kernel: word(`${seen}`, `${action.value}`) };
  }
  const id = lockstep.idAt(action.name);
  const socket = id === undefined ? undefined : lockstep.world.sockets.get(id);
  if (socket === undefined)
    throw new HoldfastError('ERR_HOLDFAST_SCENARIO', `nobody has a socket ${action.name} open`);
  const sight = lockstep.see(action.name);
  switch (action.what) {
    case 'state':
      return { model: word(socket.state, action.value), kernel: word(sight.state ?? 'CLOSE', action.value) };
    case 'v6only':
      return {
        model: word(socket.v6only ? 'on' : 'off', action.value),
        kernel: word(sight.v6only ? 'on' : 'off', action.value),
      };
    case 'address': {
      const wanted = action.value.replace(/:([A-Z](?:\+\d+)?)$/, (_, word: string) => `:${letterPort(word)}`);
      const modelled = { family: socket.family, host: socket.local.text, port: socket.shownPort };
      return {
        model: word(formatAddress(modelled), wanted),
        kernel: word(formatAddress(sight.name), wanted),
      };
    }
  }
}

function destroy(lockstep: Lockstep, port: number): Looked {
  const entry = [...lockstep.world.timeWaits.values()].find((one) => one.port === port);
  const seen = tcpSockets(['TIME_WAIT', 'FIN_WAIT2'], port)[0];
  const kernel = seen === undefined ? 'none' : destroyOne(seen);
  if (entry === undefined) return { model: 'none', kernel };
  const { world, applied } = step(lockstep.world, { type: 'destroy', id: entry.id });
  lockstep.world = world;
  return { model: 'ok', kernel, applied };
}

function destroyOne(socket: TcpSocket): Word {
  try {
    destroyTcpSocket(socket);
    return 'ok';
  } catch (error) {
    return errorCode(error) ?? String(error);
  }
}

function callOf(
  lockstep: Lockstep,
  action: Exclude<Action, { do: 'see' | 'count' | 'destroy-time-wait' }>,
): Call {
  switch (action.do) {
    case 'socket': {
      const { name, protocol, family, uid, process } = action;
      refuseTaken(lockstep, name);
      return { call: 'socket', slot: name, protocol, family, uid, process };
    }
    case 'set': {
      const { do: _do, name, ...setting } = action;
      return { call: 'set', slot: name, ...setting };
    }
    case 'bind':
      return {
        call: 'bind',
        slot: action.name,
        host: action.host,
        port: action.port === 0 ? null : portOf(lockstep, action.port),
        mayBindLow: !action.unprivileged,
      };
    case 'connect':
      return { call: 'connect', slot: action.name, host: action.host, port: portOf(lockstep, action.port) };
    case 'listen':
      return { call: 'listen', slot: action.name, backlog: action.backlog };
    case 'accept':
      refuseTaken(lockstep, action.as);
      return { call: 'accept', slot: action.name, as: action.as, uid: action.uid, process: action.process };
    case 'shutdown':
      return { call: 'shutdown', slot: action.name, how: action.how };
    case 'send':
    case 'receive':
      return { call: action.do, slot: action.name, bytes: action.bytes };
    case 'disconnect':
      return { call: 'disconnect', slot: action.name };
    case 'close':
      return {
        call: 'close',
        slot: action.name,
        ...(action.process === undefined ? {} : { process: action.process }),
      };
    case 'share':
      return { call: 'share', slot: action.name, process: action.process };
    case 'exit':
      return { call: 'exit', process: action.process };
    case 'wait':
      return { call: 'wait', ms: action.ms };
  }
}

/** A name is one socket's as long as somebody has it open. */
function refuseTaken(lockstep: Lockstep, name: string): void {
  if (lockstep.idAt(name) !== undefined)
    throw new Error(`there is a socket ${name} already; close it first, or take another name`);
}

function portOf(lockstep: Lockstep, word: PortWord): number {
  if (word === 0) return 0;
  if ('letter' in word) return portOfLetter(word);
  return lockstep.see(word.of).name.port;
}

/** The TCP sockets of the stage, as ss would list them. */
function table(): readonly string[] {
  return stageSockets()
    .filter(({ state }) => state !== 'BOUND')
    .map(({ state, local, peer }) => [state, local, ...(peer === null ? [] : [peer])].join(' '))
    .sort();
}

function stageSockets(): readonly StageSocket[] {
  return tcpSockets(ALL_STATES).map(({ state, local, peer }) => {
    const isConnected = state !== 'LISTEN' && state !== 'CLOSE';
    return {
      state: state === 'CLOSE' ? 'BOUND' : state,
      local: formatAddress(local),
      peer: isConnected ? formatAddress(peer) : null,
    };
  });
}
