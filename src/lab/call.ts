import type { Setting } from '../model/step.js';
import type { Protocol, Socket, Sysctls } from '../model/world.js';

/** A socket of a program: its name, or the number of its making. */
export type Slot = number | string;

/** The process of calls that name none. */
export const ONLY_PROCESS = 'p';

type On<T> = T & { readonly slot: Slot };

/** One call of a program. Ports are offsets from the program's first port; null stands for port 0. */
export type Call =
  | On<{
      readonly call: 'socket';
      readonly protocol: Protocol;
      readonly family: Socket['family'];
      readonly uid: number;
      readonly process?: string;
    }>
  | On<{ readonly call: 'set' } & Setting>
  | On<{
      readonly call: 'bind';
      readonly host: string;
      readonly port: number | null;
      readonly mayBindLow: boolean;
    }>
  | On<{ readonly call: 'listen'; readonly backlog: number }>
  | On<{ readonly call: 'connect'; readonly host: string; readonly port: number }>
  | On<{ readonly call: 'disconnect' }>
  | On<{ readonly call: 'accept'; readonly as: Slot; readonly uid: number; readonly process?: string }>
  | On<{ readonly call: 'shutdown'; readonly how: 'read' | 'write' | 'both' }>
  | On<{ readonly call: 'close'; readonly process?: string }>
  | On<{ readonly call: 'send' | 'receive'; readonly bytes: number }>
  /** Another process has it open too. */
  | On<{ readonly call: 'share'; readonly process: string }>
  /** The process ends: all that it has open is closed. */
  | { readonly call: 'exit'; readonly process: string }
  | { readonly call: 'wait'; readonly ms: number };

/** Settings of a program's namespace; ports as offsets, as in calls. */
export type ProgramSysctls = Omit<Sysctls, 'maxTwBuckets' | 'finTimeoutS'>;

export interface Program {
  readonly sysctls: ProgramSysctls;
  readonly calls: readonly Call[];
}
