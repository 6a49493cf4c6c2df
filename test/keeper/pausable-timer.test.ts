import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PausableTimer } from '../../src/keeper/pausable-timer.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});

afterEach(() => {
  vi.useRealTimers();
});

test('time in which it is paused does not count', () => {
  const over = vi.fn();
  const timer = new PausableTimer(1_000, over, { paused: false });
  vi.advanceTimersByTime(600);
  timer.pause();
  vi.advanceTimersByTime(10_000);
  expect(timer.leftMs).toBe(400);
  timer.goOn();
  timer.goOn();
  vi.advanceTimersByTime(399);
  expect(over).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(over).toHaveBeenCalledTimes(1);
  timer.pause();
  timer.goOn();
  vi.advanceTimersByTime(5_000);
  expect(over).toHaveBeenCalledTimes(1);
});

test('one that is made while paused begins when it goes on, and one that is cleared is never over', () => {
  const over = vi.fn();
  const timer = new PausableTimer(1_000, over, { paused: true });
  vi.advanceTimersByTime(5_000);
  expect(timer.leftMs).toBe(1_000);
  timer.goOn();
  vi.advanceTimersByTime(999);
  timer.clear();
  timer.pause();
  timer.goOn();
  vi.advanceTimersByTime(5_000);
  expect(over).not.toHaveBeenCalled();
});
