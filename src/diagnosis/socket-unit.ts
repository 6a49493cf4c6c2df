import type { Protocol } from '../model/world.js';
import { askTool } from './ask-tool.js';

/** A unit for which systemd itself listens, and starts another one when somebody connects. */
export interface SocketUnit {
  /** `cups.socket` */
  readonly unit: string;
  /** `cups.service` */
  readonly activates: string;
}

const LIST = ['list-sockets', '--all', '--full', '--no-legend', '--no-pager', '--show-types'];

/** For which unit systemd listens on the port; undefined when it does not say. `user`: the systemd of this user. */
export function socketUnitFor(protocol: Protocol, port: number, user: boolean): SocketUnit | undefined {
  const answer = askTool('systemctl', user ? ['--user', ...LIST] : LIST);
  return answer.ok ? findSocketUnit(answer.text, protocol, port) : undefined;
}

/** The same from the list that systemctl prints: LISTEN TYPE UNIT ACTIVATES. Pure. */
export function findSocketUnit(list: string, protocol: Protocol, port: number): SocketUnit | undefined {
  const wanted = protocol === 'udp' ? 'Datagram' : 'Stream';
  for (const line of list.split('\n')) {
    const [address = '', type, unit, activates = ''] = line.trim().split(/\s+/);
    if (type !== wanted || unit === undefined) continue;
    // `127.0.0.1:631`, `[::]:631`, `[fe80::1]:631%lo` for a bound device
    if (/:(\d+)(?:%\S+)?$/.exec(address)?.[1] === `${port}`) return { unit, activates };
  }
  return undefined;
}
