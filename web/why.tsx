import type { ComponentType, VNode } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { ScenarioAbout, WhyAnswer } from '../src/watch/web/wire.js';
import { targetOf } from './address.js';
import { get, wordsOf } from './api.js';
import { memo } from './memo.js';
import { WhyAnswerView } from './why-answer.js';

export interface Question {
  readonly address: string;
  readonly port: string;
  readonly protocol: 'tcp' | 'udp';
  readonly reuseaddr: boolean;
  readonly reuseport: boolean;
}

export interface WhyProps {
  /** A port that was asked about elsewhere; another object for each time. */
  readonly asked: { readonly port: number } | undefined;
  readonly scenarios: readonly ScenarioAbout[];
  readonly tryIt: (id: string) => void;
  readonly announce: (text: string) => void;
}

type Outcome =
  | { readonly answer: WhyAnswer; readonly question: Question }
  | { readonly problem: string }
  | 'asking'
  | undefined;

const NO_QUESTION: Question = { address: '', port: '', protocol: 'tcp', reuseaddr: false, reuseport: false };

/** Asks what a bind would do, and why. */
export const Why: ComponentType<WhyProps> = memo(({ asked, scenarios, tryIt, announce }: WhyProps): VNode => {
  const [question, setQuestion] = useState(NO_QUESTION);
  const [outcome, setOutcome] = useState<Outcome>(undefined);
  const ask = async (about: Question): Promise<void> => {
    setOutcome('asking');
    const query = new URLSearchParams({ target: targetOf(about.address, about.port) });
    if (about.protocol === 'udp') query.set('udp', '1');
    try {
      const answer = await get<WhyAnswer>(`why?${query}`);
      setOutcome({ answer, question: about });
      announce(answer.text.split('\n')[0] ?? 'answered');
    } catch (error) {
      setOutcome({ problem: wordsOf(error) });
      announce(wordsOf(error));
    }
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: asked once for each time.
  useEffect(() => {
    if (asked === undefined) return;
    const about = { ...NO_QUESTION, port: `${asked.port}` };
    setQuestion(about);
    ask(about);
  }, [asked]);
  return (
    <>
      <form
        id="why"
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          ask(question);
        }}
      >
        <label>
          Address
          <input
            name="address"
            class="mono"
            placeholder="any"
            size={16}
            autocomplete="off"
            value={question.address}
            onInput={({ currentTarget: { value } }) => setQuestion({ ...question, address: value })}
          />
        </label>
        <label>
          Port
          <input
            name="port"
            class="mono"
            inputMode="numeric"
            pattern="[0-9]{1,5}"
            required
            size={6}
            autocomplete="off"
            value={question.port}
            onInput={({ currentTarget: { value } }) => setQuestion({ ...question, port: value })}
          />
        </label>
        <label>
          Protocol
          <select
            name="protocol"
            value={question.protocol}
            onChange={({ currentTarget: { value } }) =>
              setQuestion({ ...question, protocol: value === 'udp' ? 'udp' : 'tcp' })
            }
          >
            <option value="tcp">TCP</option>
            <option value="udp">UDP</option>
          </select>
        </label>
        <fieldset>
          <legend>Options of the new socket</legend>
          <label class="check">
            <input
              type="checkbox"
              name="reuseaddr"
              checked={question.reuseaddr}
              onChange={({ currentTarget: { checked } }) => setQuestion({ ...question, reuseaddr: checked })}
            />
            SO_REUSEADDR
          </label>
          <label class="check">
            <input
              type="checkbox"
              name="reuseport"
              checked={question.reuseport}
              onChange={({ currentTarget: { checked } }) => setQuestion({ ...question, reuseport: checked })}
            />
            SO_REUSEPORT
          </label>
        </fieldset>
        <button type="submit" class="main" disabled={outcome === 'asking'}>
          {outcome === 'asking' ? 'asking…' : 'ask'}
        </button>
      </form>
      <div id="why-answer">
        {outcome === undefined || outcome === 'asking' ? null : 'problem' in outcome ? (
          <p class="problem">{outcome.problem}</p>
        ) : (
          <WhyAnswerView answer={outcome.answer} options={question} scenarios={scenarios} tryIt={tryIt} />
        )}
      </div>
    </>
  );
});
