import type { ComponentType, VNode } from 'preact';
import type { WatchedPort, WatchedProcess } from '../src/watch/view.js';
import { memo } from './memo.js';
import { ScrollBox } from './scroll-box.js';
import { processName, programsOf } from './words.js';

export interface PortsProps {
  readonly ports: readonly WatchedPort[];
  readonly processes: readonly WatchedProcess[];
  /** Asks why the port cannot be bound. */
  readonly ask: (port: number) => void;
}

/** Local ports with the most sockets. */
export const Ports: ComponentType<PortsProps> = memo(({ ports, processes, ask }: PortsProps): VNode => {
  const programs = programsOf(processes);
  if (ports.length === 0) return <p class="hint">No port has a socket.</p>;
  return (
    <ScrollBox label="Ports with the most sockets" isTall>
      <table>
        <thead>
          <tr>
            <th scope="col">Port</th>
            <th scope="col">Listening</th>
            <th scope="col">Live</th>
            <th scope="col">TIME_WAIT</th>
            <th scope="col">To accept</th>
            <th scope="col">Process</th>
            <th scope="col">
              <span class="hidden">Ask</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {ports.map((port) => (
            <Row
              key={port.port}
              port={port}
              owner={port.pid === null ? '–' : processName(port.pid, programs)}
              ask={ask}
            />
          ))}
        </tbody>
      </table>
    </ScrollBox>
  );
});

interface RowProps extends Pick<PortsProps, 'ask'> {
  readonly port: WatchedPort;
  readonly owner: string;
}

const Row = memo(({ port: { port, ...counts }, owner, ask }: RowProps) => (
  <tr data-port={port}>
    <th scope="row" class="number">
      {port}
    </th>
    <td class="number">{counts.listening}</td>
    <td class="number">{counts.live}</td>
    <td class="number">{counts.timeWait}</td>
    <td class="number">{counts.listening === 0 ? '–' : `${counts.acceptQueue} / ${counts.backlog}`}</td>
    <td>{owner}</td>
    <td>
      <button
        type="button"
        class="small"
        aria-label={`why: can port ${port} be bound?`}
        onClick={() => ask(port)}
      >
        why
      </button>
    </td>
  </tr>
));
