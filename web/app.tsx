import type { VNode } from 'preact';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { describeTransitions } from '../src/cli/watch-words.js';
import type { WatchFilter } from '../src/watch/view.js';
import type { About, ScenarioAbout } from '../src/watch/web/wire.js';
import { filterOf, queryOf } from './address.js';
import { get, wordsOf } from './api.js';
import { type Ask, Confirm } from './confirm.js';
import { Diagram } from './diagram.js';
import { stageCounts } from './frames.js';
import { Header } from './header.js';
import { Keepers } from './keepers.js';
import { Lab } from './lab.js';
import { useLive } from './live.js';
import { usePlayer } from './player.js';
import { PlayerBar } from './player-bar.js';
import { Ports } from './ports.js';
import { StatePanel } from './state-panel.js';
import { countsOf, type NodeId } from './states.js';
import { Timeline } from './timeline.js';
import { Why } from './why.js';
import { describeUnseen } from './words.js';

/** The whole page. */
export function App(): VNode {
  const [filter, choose] = useFilter();
  const [live, again] = useLive(filter);
  const [about] = useAnswer<About>('about');
  const [scenarios = NO_SCENARIOS, scenariosProblem] = useAnswer<readonly ScenarioAbout[]>('scenarios');
  const [selected, setSelected] = useState<NodeId | undefined>(undefined);
  const [asked, setAsked] = useState<{ readonly port: number } | undefined>(undefined);
  const [wanted, setWanted] = useState<{ readonly id: string } | undefined>(undefined);
  const [ask, setAsk] = useState<Ask | undefined>(undefined);
  const [told, announce] = useState('');
  const player = usePlayer();
  const { snapshot } = live;
  const { frame } = player;
  const diagram = useRef<HTMLElement>(null);
  useInSight(diagram, player.run);

  const select = useCallback((id: NodeId) => setSelected((before) => (before === id ? undefined : id)), []);
  const askWhy = useCallback((port: number) => {
    setAsked({ port });
    document.getElementById('why-title')?.scrollIntoView({ block: 'start' });
  }, []);
  const tryIt = useCallback((id: string) => setWanted({ id }), []);

  const counts = frame === undefined ? snapshot && countsOf(snapshot) : stageCounts(frame.step.sockets);
  return (
    <>
      <Header
        about={about}
        connection={live.connection}
        problem={live.problem}
        unseen={snapshot && describeUnseen(snapshot.unseen)}
        filter={filter}
        keepers={snapshot?.keepers ?? NO_KEEPERS}
        choose={choose}
        again={again}
      />
      <main>
        <section
          class={frame === undefined ? 'panel diagram-panel' : 'panel diagram-panel lab-mode'}
          aria-labelledby="diagram-title"
          ref={diagram}
        >
          <h2 id="diagram-title">TCP states</h2>
          <PlayerBar player={player} />
          <Diagram counts={counts} lit={frame?.lit ?? live.lit} selected={selected} select={select} />
          <p class="transitions" aria-hidden={frame !== undefined}>
            {frame === undefined
              ? describeTransitions(live.transitions).join(', ') || 'no transitions'
              : frame.when}
          </p>
        </section>
        <StatePanel selected={selected} snapshot={snapshot} stage={frame?.step.sockets} />
        <section class="panel timeline-panel" aria-labelledby="timeline-title">
          <h2 id="timeline-title">Timeline</h2>
          {snapshot !== undefined && <Timeline history={snapshot.history} marks={snapshot.marks} />}
        </section>
        <section class="panel ports-panel" aria-labelledby="ports-title" id="ports">
          <h2 id="ports-title">Ports</h2>
          {snapshot !== undefined && (
            <Ports ports={snapshot.ports} processes={snapshot.processes} ask={askWhy} />
          )}
        </section>
        <section class="panel why-panel" aria-labelledby="why-title">
          <h2 id="why-title">Why can't I bind?</h2>
          <Why asked={asked} scenarios={scenarios} tryIt={tryIt} announce={announce} />
        </section>
        <section class="panel lab-panel" aria-labelledby="lab-title" id="lab">
          <h2 id="lab-title">Lab</h2>
          <Lab
            scenarios={scenarios}
            problem={scenariosProblem}
            player={player}
            wanted={wanted}
            announce={announce}
          />
        </section>
        <section class="panel keepers-panel" aria-labelledby="keepers-title" id="keepers">
          <h2 id="keepers-title">Keepers</h2>
          <Keepers keepers={snapshot?.keepers ?? NO_KEEPERS} confirm={setAsk} announce={announce} />
        </section>
      </main>
      <footer>
        holdfast {about?.version}. It looks every {(about?.intervalMs ?? 1_000) / 1_000} s and changes nothing
        unless you confirm it.
      </footer>
      <Confirm ask={ask} close={() => setAsk(undefined)} />
      <div id="announce" class="hidden" role="status" aria-live="polite">
        {told}
      </div>
    </>
  );
}

const NO_SCENARIOS: readonly ScenarioAbout[] = [];
const NO_KEEPERS: readonly [] = [];

/** What is watched, kept in the address of the page. */
function useFilter(): readonly [filter: WatchFilter, choose: (filter: WatchFilter) => void] {
  const [filter, setFilter] = useState(() => filterOf(location.hash));
  useEffect(() => {
    const follow = (): void => setFilter(filterOf(location.hash));
    window.addEventListener('hashchange', follow);
    return () => window.removeEventListener('hashchange', follow);
  }, []);
  const choose = useCallback((next: WatchFilter) => {
    location.hash = queryOf(next);
  }, []);
  return [filter, choose];
}

/** What the server answers once, or why not. */
function useAnswer<T>(path: string): readonly [answer: T | undefined, problem: string | undefined] {
  const [answer, setAnswer] = useState<T | undefined>(undefined);
  const [problem, setProblem] = useState<string | undefined>(undefined);
  useEffect(() => {
    get<T>(path).then(setAnswer, (error: unknown) => setProblem(wordsOf(error)));
  }, [path]);
  return [answer, problem];
}

/** Shows the diagram when a scenario begins there. */
function useInSight(diagram: { readonly current: HTMLElement | null }, run: object | undefined): void {
  // biome-ignore lint/correctness/useExhaustiveDependencies: a ref is the same for ever.
  useEffect(() => {
    if (run !== undefined) diagram.current?.scrollIntoView({ block: 'start' });
  }, [run]);
}
