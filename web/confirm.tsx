import type { VNode } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

/** What is asked once more. */
export interface Ask {
  readonly title: string;
  readonly text: string;
  /** Written on the button that does it. */
  readonly action: string;
  /** Asks for a number too, which is this at first. */
  readonly workers?: number;
  readonly perform: (workers: number) => void;
}

const WORKERS_MAX = 999;

export interface ConfirmProps {
  readonly ask: Ask | undefined;
  readonly close: () => void;
}

/** Asks before something is done; Cancel comes first. */
export function Confirm({ ask, close }: ConfirmProps): VNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const cancel = useRef<HTMLButtonElement>(null);
  const [workers, setWorkers] = useState(1);
  useEffect(() => {
    if (ask === undefined) return dialog.current?.close();
    setWorkers(ask.workers ?? 1);
    dialog.current?.showModal();
    cancel.current?.focus();
  }, [ask]);
  return (
    <dialog id="confirm" ref={dialog} aria-labelledby="confirm-title" onClose={close}>
      {ask !== undefined && (
        <form
          method="dialog"
          onSubmit={(event) => {
            event.preventDefault();
            close();
            ask.perform(workers);
          }}
        >
          <h2 id="confirm-title">{ask.title}</h2>
          <p>{ask.text}</p>
          {ask.workers !== undefined && (
            <label>
              Workers
              <input
                name="workers"
                type="number"
                min={1}
                max={WORKERS_MAX}
                required
                value={workers}
                onInput={({ currentTarget }) => setWorkers(currentTarget.valueAsNumber)}
              />
            </label>
          )}
          <div class="buttons">
            <button type="button" ref={cancel} data-action="cancel" onClick={close}>
              Cancel
            </button>
            <button type="submit" class="main" data-action="confirm">
              {ask.action}
            </button>
          </div>
        </form>
      )}
    </dialog>
  );
}
