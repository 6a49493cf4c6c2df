import type { VNode } from 'preact';
import { useState } from 'preact/hooks';

/** Copies a command. */
export function CopyButton({ text }: { readonly text: string }): VNode {
  const [word, setWord] = useState('copy');
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setWord('copied');
    } catch {
      // No clipboard over plain HTTP from another machine.
      setWord('select it and copy');
    }
  };
  return (
    <button type="button" class="small" aria-label={`${word}: ${text}`} onClick={copy}>
      {word}
    </button>
  );
}
