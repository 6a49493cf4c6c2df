import type { InetAddress } from '../../src/model/address.js';
import type { RuleId } from '../../src/model/rules.js';
import { type Operation, type Step, step } from '../../src/model/step.js';
import { type Chooser, emptyWorld, type Id, type Socket, type World } from '../../src/model/world.js';

export type Outcome = Step['outcome'];

type Flag = 'SO_REUSEADDR' | 'SO_REUSEPORT' | 'IPV6_V6ONLY' | 'IP_BIND_ADDRESS_NO_PORT';

/** A world and the calls that change it, for tests that read like a program. */
export class Play {
  world: World;
  /** Every rule that took part in the last call. */
  applied: readonly RuleId[] = [];

  constructor(world: World = emptyWorld()) {
    this.world = world;
  }

  do(operation: Operation, choose?: Chooser): Outcome {
    const done = step(this.world, operation, choose);
    this.world = done.world;
    this.applied = done.applied;
    return done.outcome;
  }

  socket(kind: 'tcp4' | 'tcp6' | 'udp4' | 'udp6', ...flags: readonly Flag[]): Id {
    const protocol = kind.startsWith('tcp') ? 'tcp' : 'udp';
    const family = kind.endsWith('4') ? 'ipv4' : 'ipv6';
    const id = made(this.do({ type: 'socket', protocol, family, uid: 0, process: 'p' }));
    for (const flag of flags) this.set(id, flag);
    return id;
  }

  set(socket: Id, option: Flag, value = true): Outcome {
    return this.do({ type: 'set', socket, option, value });
  }

  bind(socket: Id, address: InetAddress, choose?: Chooser): Outcome {
    return this.do({ type: 'bind', socket, address, mayBindLow: true }, choose);
  }

  listen(socket: Id): Outcome {
    return this.do({ type: 'listen', socket, backlog: 8 });
  }

  connect(socket: Id, address: InetAddress, choose?: Chooser): Outcome {
    return this.do({ type: 'connect', socket, address }, choose);
  }

  accept(socket: Id): Id {
    return made(this.do({ type: 'accept', socket, uid: 0, process: 'p' }));
  }

  close(...sockets: readonly Id[]): void {
    for (const socket of sockets) this.do({ type: 'close', socket, process: 'p' });
  }

  /** A socket of that kind that listens there. */
  listener(kind: 'tcp4' | 'tcp6', address: InetAddress, ...flags: readonly Flag[]): Id {
    const id = this.socket(kind, ...flags);
    must(this.bind(id, address));
    must(this.listen(id));
    return id;
  }

  at(id: Id): Socket {
    const socket = this.world.sockets.get(id);
    if (socket === undefined) throw new Error(`no socket ${id}`);
    return socket;
  }
}

export function at(host: string, port: number): InetAddress {
  return { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port };
}

/** For calls that only prepare what is tested. */
export function must(outcome: Outcome): void {
  if (!outcome.ok) throw new Error(`${outcome.code} by ${outcome.rule}`);
}

function made(outcome: Outcome): Id {
  if (!outcome.ok || outcome.made === undefined) throw new Error('it made no socket');
  return outcome.made;
}
