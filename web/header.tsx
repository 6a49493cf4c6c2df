import type { ComponentType, VNode } from 'preact';
import { useState } from 'preact/hooks';
import type { WatchedKeeper, WatchFilter } from '../src/watch/view.js';
import type { About } from '../src/watch/web/wire.js';
import { describeFilter } from './address.js';
import type { Connection } from './live.js';
import { memo } from './memo.js';

export interface HeaderProps {
  readonly about: About | undefined;
  readonly connection: Connection;
  readonly problem: string | undefined;
  readonly unseen: string | undefined;
  readonly filter: WatchFilter;
  readonly keepers: readonly WatchedKeeper[];
  readonly choose: (filter: WatchFilter) => void;
  readonly again: () => void;
}

const CONNECTIONS: Readonly<Record<Connection, string>> = {
  connecting: 'connecting…',
  live: 'live',
  reconnecting: 'reconnecting…',
  ended: 'ended',
};

/** Where this is, whether it is live, and what is watched. */
export const Header: ComponentType<HeaderProps> = memo((props: HeaderProps): VNode => {
  const { about, connection, problem, unseen, filter, keepers, choose, again } = props;
  return (
    <header class="top">
      <div class="title">
        <h1>
          <img src="icon.svg" alt="" width="28" height="28" /> holdfast watch
        </h1>
        {about !== undefined && (
          <p class="where">
            <b>{about.hostname}</b>, as {about.user} <span class="kernel">Linux {about.kernel}</span>
          </p>
        )}
        <p class="connection" id="connection" data-connection={connection} role="status">
          {CONNECTIONS[connection]}
        </p>
      </div>
      <Chooser key={describeFilter(filter)} filter={filter} keepers={keepers} choose={choose} />
      {problem !== undefined && (
        <p class="problem" role="alert">
          {problem}{' '}
          <button type="button" class="small" onClick={again}>
            watch again
          </button>
        </p>
      )}
      {unseen !== undefined && (
        <p class="unseen" id="unseen">
          {unseen}
        </p>
      )}
    </header>
  );
});

type What = 'all' | 'port' | 'pid' | 'keeper';

interface ChooserProps extends Pick<HeaderProps, 'filter' | 'keepers' | 'choose'> {}

function Chooser({ filter, keepers, choose }: ChooserProps): VNode {
  const [what, setWhat] = useState<What>(whatOf(filter));
  const [text, setText] = useState(`${filter.port ?? filter.pid ?? filter.keeper ?? ''}`);
  const names = keepers.map(({ name }) => name);
  const known =
    filter.keeper === undefined || names.includes(filter.keeper) ? names : [filter.keeper, ...names];
  const change = (next: What): void => {
    setWhat(next);
    setText(next === 'keeper' ? (known[0] ?? '') : '');
  };
  return (
    <form
      class="row chooser"
      aria-label="What is watched"
      onSubmit={(event) => {
        event.preventDefault();
        choose(filterFor(what, text));
      }}
    >
      <label>
        Watch
        <select
          name="what"
          value={what}
          onChange={({ currentTarget }) => change(currentTarget.value as What)}
        >
          <option value="all">the whole machine</option>
          <option value="port">a port</option>
          <option value="pid">a process</option>
          <option value="keeper" disabled={known.length === 0}>
            a keeper
          </option>
        </select>
      </label>
      {(what === 'port' || what === 'pid') && (
        <label>
          {what === 'port' ? 'Port' : 'Pid'}
          <input
            name="which"
            class="mono"
            inputMode="numeric"
            pattern="[1-9][0-9]{0,9}"
            required
            size={8}
            autocomplete="off"
            value={text}
            onInput={({ currentTarget }) => setText(currentTarget.value)}
          />
        </label>
      )}
      {what === 'keeper' && (
        <label>
          Keeper
          <select name="which" value={text} onChange={({ currentTarget }) => setText(currentTarget.value)}>
            {known.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
      <button type="submit">watch</button>
    </form>
  );
}

function whatOf({ port, pid, keeper }: WatchFilter): What {
  if (port !== undefined) return 'port';
  if (pid !== undefined) return 'pid';
  return keeper === undefined ? 'all' : 'keeper';
}

function filterFor(what: What, text: string): WatchFilter {
  switch (what) {
    case 'all':
      return {};
    case 'port':
      return { port: Number(text) };
    case 'pid':
      return { pid: Number(text) };
    case 'keeper':
      return { keeper: text };
  }
}
