import type { InetAddress } from '../model/address.js';
import { predictBind } from '../model/bind.js';
import { hostOf } from '../model/host.js';
import { listenersFor } from '../model/lookup.js';
import { assumptions, worldOf } from '../model/seen.js';
import { newSocket, type Protocol, type Socket, type Verdict, type World } from '../model/world.js';
import { type Origin, originsOf, type PortView } from './port-view.js';

/** The socket that is to be bound. */
export interface BindRequest {
  readonly protocol: Protocol;
  readonly address: InetAddress;
  readonly uid: number;
  readonly reuse: boolean;
  readonly reusePort: boolean;
  /** Undefined: as net.ipv6.bindv6only says. */
  readonly v6only: boolean | undefined;
  readonly device: string;
  readonly freebind: boolean;
  /** Whether the caller has CAP_NET_BIND_SERVICE. */
  readonly mayBindLow: boolean;
}

/** One way in which a bind may go, and who stands in the way. */
export interface Foreseen {
  readonly verdict: Verdict;
  readonly holder: Origin | undefined;
  /** Only if the port remembers a bind with SO_REUSEPORT that covers this one. */
  readonly ifRemembered: boolean;
}

/** A world for one of the things that cannot be seen. */
interface Assumed {
  readonly isRemembered: boolean;
  readonly world: World;
}

/** What the model says of binds, for what was seen of the port. */
export interface Foresight {
  readonly origins: readonly Origin[];
  /** Several outcomes when what decides cannot be seen; they differ in success or error. Pure. */
  foresee(request: BindRequest): readonly Foreseen[];
  /** Who gets a TCP connection to that host. Pure. */
  reached(host: string, port: number): Origin | undefined;
}

/** Pure: the same view gives the same answers. Each world is made once, for all requests of one user. */
export function foresightFor(view: PortView): Foresight {
  const origins = originsOf(view);
  const seen = origins.map((origin) => origin.seen);
  const worlds = new Map<number, readonly Assumed[]>();
  const worldsFor = (uid: number): readonly Assumed[] => {
    const known = worlds.get(uid);
    if (known !== undefined) return known;
    const made = assumptions(uid, seen).map((assumed) => ({
      isRemembered: assumed.rememberedBy !== null,
      world: worldOf(seen, view.machine, assumed),
    }));
    worlds.set(uid, made);
    return made;
  };
  return {
    origins,
    foresee: (request) => {
      const outcomes = new Map<string, Foreseen>();
      for (const { world, isRemembered } of worldsFor(request.uid)) {
        const verdict = predictBind(world, askerFor(world, request), request);
        // By what decides, not by whom it meets first.
        const word = verdict.ok ? 'ok' : verdict.code;
        const known = outcomes.get(word);
        const { verdict: first = verdict, ifRemembered = true } = known ?? {};
        outcomes.set(word, {
          verdict: first,
          holder: holderOf(first, origins),
          ifRemembered: ifRemembered && isRemembered,
        });
      }
      return [...outcomes.values()];
    },
    reached: (host, port) => {
      const [any] = worldsFor(0);
      if (any === undefined) return undefined;
      const [first] = listenersFor(any.world, hostOf(host.includes(':') ? 'ipv6' : 'ipv4', host), port);
      return first === undefined ? undefined : origins[first - 1];
    },
  };
}

function holderOf(verdict: Verdict, origins: readonly Origin[]): Origin | undefined {
  // The n-th that was seen has the number n + 1 in its world.
  return verdict.ok || verdict.holder === undefined ? undefined : origins[verdict.holder - 1];
}

function askerFor(world: World, request: BindRequest): Socket {
  const { protocol, address, uid, reuse, reusePort, v6only, device, freebind } = request;
  const fresh = newSocket(protocol, address.family, world, uid, 'asker');
  return {
    ...fresh,
    id: 0,
    reuse,
    reusePort,
    device,
    freebind,
    v6only: address.family === 'ipv6' && (v6only ?? fresh.v6only),
  };
}
