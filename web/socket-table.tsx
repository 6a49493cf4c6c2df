import type { VNode } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import type { WatchedProcess, WatchedSocket } from '../src/watch/view.js';
import { memo } from './memo.js';
import { ScrollBox } from './scroll-box.js';
import type { NodeId } from './states.js';
import { formatAge, formatTimer, ownerOf, type Processes, programsOf } from './words.js';

const ROWS_MAX = 200;

export interface SocketTableProps {
  readonly rows: readonly WatchedSocket[];
  readonly processes: readonly WatchedProcess[];
  readonly atMs: number;
  readonly name: NodeId;
}

/** Sockets, of which a text filter chooses. */
export function SocketTable({ rows, processes, atMs, name }: SocketTableProps): VNode {
  const [wanted, setWanted] = useState('');
  const programs = useMemo(() => programsOf(processes), [processes]);
  const found = wanted === '' ? rows : rows.filter((socket) => hasText(socket, programs, wanted));
  const shown = found.slice(0, ROWS_MAX);
  const isListener = name === 'LISTEN';
  return (
    <>
      <label class="filter">
        Filter
        <input
          type="search"
          value={wanted}
          placeholder="address, process, user"
          onInput={({ currentTarget }) => setWanted(currentTarget.value.trim().toLowerCase())}
        />
      </label>
      <ScrollBox label={`Sockets in ${name}`} isTall>
        <table class="sockets">
          <thead>
            <tr>
              <th scope="col">Local, peer</th>
              <th scope="col">Process, user</th>
              <th scope="col">{isListener ? 'Waiting, backlog' : 'Unread, unacked'}</th>
              <th scope="col">Timer</th>
              <th scope="col">For</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((socket) => (
              <Row
                key={socket.id}
                socket={socket}
                owner={ownerOf(socket, programs)}
                timer={formatTimer(socket.timer, atMs)}
                since={formatAge(atMs - socket.sinceMs)}
              />
            ))}
          </tbody>
        </table>
      </ScrollBox>
      {found.length > shown.length && <p class="more">and {found.length - shown.length} more</p>}
      {found.length === 0 && <p class="hint">None has this text.</p>}
    </>
  );
}

interface RowProps {
  readonly socket: WatchedSocket;
  readonly owner: string;
  readonly timer: string;
  readonly since: string;
}

const Row = memo(({ socket, owner, timer, since }: RowProps) => (
  <tr>
    <td class="mono">
      {socket.local}
      {socket.peer !== null && <span class="second">{socket.peer}</span>}
    </td>
    <td>
      {owner}
      {socket.user !== null && <span class="second">{socket.user}</span>}
    </td>
    <td class="number">
      {socket.receiveQueue} / {socket.sendQueue}
    </td>
    <td>{timer === '' ? '–' : timer}</td>
    <td class="number">{since}</td>
  </tr>
));

function hasText(socket: WatchedSocket, programs: Processes, wanted: string): boolean {
  return [socket.local, socket.peer, ownerOf(socket, programs), socket.user]
    .join(' ')
    .toLowerCase()
    .includes(wanted);
}
