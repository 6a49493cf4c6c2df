import type { VNode } from 'preact';
import { useState } from 'preact/hooks';
import type { BindReport, Fix, WhyReport } from '../src/diagnosis/report.js';
import type { RuleId } from '../src/model/rules.js';
import type { ScenarioAbout, WhyAnswer } from '../src/watch/web/wire.js';
import { chosenRows, type ReuseOptions } from './bind-rows.js';
import { CopyButton } from './copy-button.js';
import { RuleCard, RuleLink } from './rule-card.js';
import { ScrollBox } from './scroll-box.js';

export interface WhyAnswerProps {
  readonly answer: WhyAnswer;
  readonly options: ReuseOptions;
  readonly scenarios: readonly ScenarioAbout[];
  readonly tryIt: (id: string) => void;
}

/** The summary, what binds do, what the command prints, and what frees the port. */
export function WhyAnswerView({ answer, ...rest }: WhyAnswerProps): VNode {
  return (
    <>
      {(answer.reports as readonly WhyReport[]).map((report) => (
        <Report key={report.port} report={report} {...rest} />
      ))}
      <details open>
        <summary>What the command prints</summary>
        <ScrollBox label="What the command prints">
          <pre>{answer.text}</pre>
        </ScrollBox>
      </details>
    </>
  );
}

interface ReportProps extends Omit<WhyAnswerProps, 'answer'> {
  readonly report: WhyReport;
}

function Report({ report, options, scenarios, tryIt }: ReportProps): VNode {
  const { chosen, others } = chosenRows(report.bind, options);
  return (
    <article>
      <p class="summary" data-verdict={report.verdict}>
        {report.summary}
      </p>
      <BindTable caption="What this bind does" rows={chosen} scenarios={scenarios} tryIt={tryIt} />
      {others.length > 0 && (
        <details>
          <summary>With other options ({others.length})</summary>
          <BindTable caption="What other binds do" rows={others} scenarios={scenarios} tryIt={tryIt} />
        </details>
      )}
      {report.warnings.map(({ id, text }) => (
        <p key={id} class="note">
          {text}
        </p>
      ))}
      {report.fixes.length > 0 && <Fixes fixes={report.fixes} />}
    </article>
  );
}

interface BindTableProps extends Pick<WhyAnswerProps, 'scenarios' | 'tryIt'> {
  readonly caption: string;
  readonly rows: readonly BindReport[];
}

function BindTable({ caption, rows, scenarios, tryIt }: BindTableProps): VNode {
  const [open, setOpen] = useState<RuleId | null>(null);
  return (
    <>
      <ScrollBox label={caption}>
        <table>
          <caption>{caption}</caption>
          <thead>
            <tr>
              <th scope="col">Address</th>
              <th scope="col">Options</th>
              <th scope="col">Expected</th>
              <th scope="col">Tried</th>
              <th scope="col">By the rule</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ address, options, expected, probed, rule }) => (
              <tr key={`${address} ${options}`}>
                <td class="mono">{address}</td>
                <td>{options.length === 0 ? 'none' : options.join(', ')}</td>
                <td class={`outcome ${expected === 'ok' ? 'works' : 'fails'}`}>
                  {expected === 'ok' ? 'works' : expected}
                </td>
                <td class="outcome">{probed === null ? 'not tried' : probed === 'ok' ? 'works' : probed}</td>
                <td class="rule">
                  {rule === null ? (
                    '–'
                  ) : (
                    <RuleLink
                      id={rule}
                      isOpen={open === rule}
                      toggle={() => setOpen(open === rule ? null : rule)}
                    />
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </ScrollBox>
      {open !== null && <RuleCard id={open} scenarios={scenarios} tryIt={tryIt} />}
    </>
  );
}

const RISKS: Readonly<Record<Fix['risk'], string>> = {
  none: '',
  'resets-connections': 'resets connections',
  'ends-process': 'ends a process',
};

function Fixes({ fixes }: { readonly fixes: readonly Fix[] }): VNode {
  return (
    <>
      <h3>What helps</h3>
      <ol class="fixes">
        {fixes.map(({ id, text, command, risk, needsRoot }) => (
          <li key={id}>
            {text}
            {risk !== 'none' && <span class="tag">{RISKS[risk]}</span>}
            {needsRoot && <span class="tag">needs root</span>}
            {command !== null && (
              <div class="command">
                <code>{command.join(' ')}</code> <CopyButton text={command.join(' ')} />
              </div>
            )}
          </li>
        ))}
      </ol>
    </>
  );
}
