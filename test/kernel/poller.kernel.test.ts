import { expect, onTestFinished, test } from 'vitest';
import { Poller } from '../../src/kernel/poller.js';
import { within } from '../support/wait.js';

test('the thread of a poller answers when it is asked, again and again', async () => {
  const poller = new Poller();
  onTestFinished(() => poller.close());
  for (let time = 0; time < 3; time++) {
    await within('an answer', new Promise<void>((answered) => poller.ask(answered)));
  }
});

test('of two questions at a time the second is answered', async () => {
  const poller = new Poller();
  onTestFinished(() => poller.close());
  let first = 0;
  poller.ask(() => first++);
  await within('an answer', new Promise<void>((answered) => poller.ask(answered)));
  expect(first).toBe(0);
});
