import type { VNode } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Problem } from '../src/watch/web/wire.js';
import { whyNoStream } from './api.js';
import { lastLines } from './output-lines.js';

/** What the keeper's server writes, while it is open. */
export function Output({ name }: { readonly name: string }): VNode {
  const [isOpen, setOpen] = useState(false);
  return (
    // Of one name: one of them is open at a time, as a browser has few connections to one server.
    <details class="output" name="output" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>Output</summary>
      {isOpen && <Lines name={name} />}
    </details>
  );
}

function Lines({ name }: { readonly name: string }): VNode {
  const [text, setText] = useState('');
  const [problem, setProblem] = useState<string | undefined>(undefined);
  const box = useRef<HTMLElement>(null);
  const isAtEnd = useRef(true);
  useEffect(() => {
    const path = `keepers/${encodeURIComponent(name)}/output`;
    const source = new EventSource(`api/${path}`);
    source.addEventListener('open', () => setProblem(undefined));
    source.addEventListener('output', ({ data }) => {
      isAtEnd.current = box.current === null || distanceToEnd(box.current) < NEAR_PX;
      setText((before) => lastLines(before + (JSON.parse(data) as string)));
    });
    source.addEventListener('problem', ({ data }) => {
      setProblem((JSON.parse(data) as Problem).text);
      source.close();
    });
    source.addEventListener('error', () => {
      // Tried again, it is told from its last lines on.
      setText('');
      setProblem('reconnecting…');
      if (source.readyState === EventSource.CLOSED) whyNoStream(path).then(setProblem);
    });
    return () => source.close();
  }, [name]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the last line stays in sight when there is more.
  useEffect(() => {
    if (box.current !== null && isAtEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls can be reached by the keyboard. */}
      <section ref={box} class="lines" tabIndex={0} aria-label={`Output of ${name}`}>
        <pre>{text === '' ? 'Nothing yet.' : text}</pre>
      </section>
      {problem !== undefined && <p class="problem">{problem}</p>}
    </>
  );
}

/** Who has scrolled farther up reads there. */
const NEAR_PX = 20;

function distanceToEnd({ scrollHeight, scrollTop, clientHeight }: HTMLElement): number {
  return scrollHeight - scrollTop - clientHeight;
}
