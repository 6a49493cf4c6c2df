import { errorText } from '../errors.js';
import { connectNeedsTick } from '../model/connect.js';
import type { KernelVersion } from '../model/kernel-rules.js';
import { type Operation, type Step, step } from '../model/step.js';
import {
  type Choice,
  type Chooser,
  emptyWorld,
  type Id,
  NotModelled,
  type Sysctls,
  type World,
} from '../model/world.js';
import { type Call, ONLY_PROCESS, type Slot } from './call.js';
import { addressOf, Performer, type Sight } from './performer.js';
import { STAGE_ADDRESSES } from './stage.js';

/** Where the model and the kernel differ after a call. */
export interface Disagreement {
  readonly call: Call;
  readonly what: string;
  readonly model: string;
  readonly kernel: string;
}

export type Outcome =
  | { readonly type: 'agree'; readonly step: Step }
  /** The model says that it does not know; nothing was done. */
  | { readonly type: 'not-modelled'; readonly why: string }
  /** The kernel went where the model cannot follow: the program ends here. */
  | { readonly type: 'lost'; readonly why: string }
  | { readonly type: 'disagree'; readonly disagreement: Disagreement };

/** More than a timestamp's millisecond. */
const TICK_MS = 3;
const NO_PORT: ReadonlySet<string> = new Set(['EADDRINUSE', 'EADDRNOTAVAIL', 'EAGAIN']);

/** Performs each call on the model and on the kernel and compares all that can be seen. */
export class Lockstep {
  world: World;
  readonly #base: number;
  readonly #performer: Performer;
  readonly #ids = new Map<Slot, Id>();

  constructor(base: number, sysctls: Sysctls, kernel: KernelVersion) {
    this.#base = base;
    this.#performer = new Performer(base);
    this.world = emptyWorld({ sysctls, addresses: STAGE_ADDRESSES, kernel });
  }

  /** The model's socket in a slot. */
  idAt(slot: Slot): Id | undefined {
    return this.#ids.get(slot);
  }

  /** The kernel's socket in a slot. */
  see(slot: Slot): Sight {
    return this.#performer.see(slot);
  }

  end(): void {
    this.#performer.end();
  }

  do(call: Call): Outcome {
    const operation = this.#operation(call);
    let first: Step;
    let chose = false;
    try {
      first = step(this.world, operation, (choice) => {
        chose = true;
        return choice.options[0];
      });
    } catch (error) {
      if (error instanceof NotModelled) return { type: 'not-modelled', why: error.message };
      return { type: 'disagree', disagreement: faultOf(call, error) };
    }
    if (operation.type === 'connect' && connectNeedsTick(this.world, operation.socket, operation.address)) {
      const waited = this.do({ call: 'wait', ms: TICK_MS });
      return waited.type === 'agree' ? this.do(call) : waited;
    }
    const error = this.#performer.perform(call);
    let done = first;
    if (chose) {
      try {
        done = step(this.world, operation, this.#kernelsChoice(call, error));
      } catch (failure) {
        if (failure instanceof NotModelled) return { type: 'lost', why: failure.message };
        return { type: 'disagree', disagreement: faultOf(call, failure) };
      }
    }
    this.world = done.world;
    this.#name(call, done);
    const expected = done.outcome.ok ? undefined : done.outcome.code;
    const disagreement = expected === error ? this.#compare(call) : differ(call, 'result', expected, error);
    return disagreement === undefined ? { type: 'agree', step: done } : { type: 'disagree', disagreement };
  }

  #name(call: Call, { outcome }: Step): void {
    for (const [slot, id] of this.#ids) {
      const socket = this.world.sockets.get(id);
      if (socket === undefined || socket.processes.length === 0) this.#ids.delete(slot);
    }
    if (!outcome.ok || outcome.made === undefined) return;
    if (call.call === 'socket') this.#ids.set(call.slot, outcome.made);
    if (call.call === 'accept') this.#ids.set(call.as, outcome.made);
  }

  /** Where the model leaves it to the kernel, what the kernel has chosen. */
  #kernelsChoice(call: Call, error: string | undefined): Chooser {
    return <T extends number>(choice: Choice<T>) => {
      // The name of a socket that got no port may still show one that it had before.
      if (choice.mayFail && error !== undefined && NO_PORT.has(error)) return undefined;
      const chosen = choice.kind === 'port' ? this.#chosenPort(call) : this.#chosenListener(choice.options);
      return choice.options.find((option) => option === chosen) ?? choice.options[0];
    };
  }

  #chosenPort(call: Call): number | undefined {
    return 'slot' in call ? this.#performer.see(call.slot).name.port : undefined;
  }

  #chosenListener(options: readonly number[]): number | undefined {
    for (const [slot, id] of this.#ids) {
      if (!options.includes(id)) continue;
      const before = this.world.sockets.get(id)?.queue.length ?? 0;
      if (this.#performer.see(slot).waiting > before) return id;
    }
    return undefined;
  }

  #compare(call: Call): Disagreement | undefined {
    for (const slot of this.#performer.slots()) {
      const id = this.#ids.get(slot);
      const socket = id === undefined ? undefined : this.world.sockets.get(id);
      if (socket === undefined) return { call, what: `slot ${slot}`, model: 'none', kernel: 'open' };
      const seen = this.#performer.see(slot);
      const { name, state, waiting, v6only } = seen;
      if (name.host !== socket.local.text || name.port !== socket.shownPort) {
        return differ(
          call,
          `name of ${slot}`,
          `${socket.local.text} ${socket.shownPort}`,
          `${name.host} ${name.port}`,
        );
      }
      if (state !== undefined && state !== socket.state)
        return differ(call, `state of ${slot}`, socket.state, state);
      const queue = socket.state === 'LISTEN' ? socket.queue.length : 0;
      if (waiting !== queue) return differ(call, `queue of ${slot}`, `${queue}`, `${waiting}`);
      if (v6only !== (socket.family === 'ipv6' && socket.v6only)) {
        return differ(call, `V6ONLY of ${slot}`, `${socket.v6only}`, `${v6only}`);
      }
    }
    return undefined;
  }

  #operation(call: Call): Operation {
    if (call.call === 'wait') return { type: 'wait', ms: call.ms };
    if (call.call === 'exit') return { type: 'exit', process: call.process };
    if (call.call === 'socket') {
      const { protocol, family, uid, process = ONLY_PROCESS } = call;
      return { type: 'socket', protocol, family, uid, process };
    }
    const socket = this.#ids.get(call.slot);
    if (socket === undefined) throw new Error(`slot ${call.slot} has no socket`);
    switch (call.call) {
      case 'set': {
        const { call: _call, slot: _slot, ...setting } = call;
        return { type: 'set', socket, ...setting };
      }
      case 'bind':
        return {
          type: 'bind',
          socket,
          address: addressOf(call.host, call.port, this.#base),
          mayBindLow: call.mayBindLow,
        };
      case 'listen':
        return { type: 'listen', socket, backlog: call.backlog };
      case 'connect':
        return { type: 'connect', socket, address: addressOf(call.host, call.port, this.#base) };
      case 'disconnect':
        return { type: 'disconnect', socket };
      case 'accept':
        return { type: 'accept', socket, uid: call.uid, process: call.process ?? ONLY_PROCESS };
      case 'shutdown':
        return { type: 'shutdown', socket, how: call.how };
      case 'close':
        return { type: 'close', socket, process: call.process ?? ONLY_PROCESS };
      case 'send':
      case 'receive':
        return { type: call.call, socket, bytes: call.bytes };
      case 'share':
        return { type: 'share', socket, process: call.process };
    }
  }
}

function differ(
  call: Call,
  what: string,
  model: string | undefined,
  kernel: string | undefined,
): Disagreement {
  return { call, what, model: model ?? 'ok', kernel: kernel ?? 'ok' };
}

/** A model that contradicts itself, as one with a rule left out may, is wrong too. */
function faultOf(call: Call, error: unknown): Disagreement {
  return { call, what: 'the model itself', model: errorText(error), kernel: 'not asked' };
}
