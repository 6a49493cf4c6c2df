import { expect, test } from 'vitest';
import { parseReadiness, type Readiness } from '../../src/keeper/readiness.js';

test.each<[string, Readiness]>([
  ['listen', { type: 'listen' }],
  ['notify', { type: 'notify' }],
  ['ipc', { type: 'ipc' }],
  ['http:/', { type: 'http', path: '/' }],
  ['http:/health?full=1&host=a:b', { type: 'http', path: '/health?full=1&host=a:b' }],
  ['http:8080/health', { type: 'http', path: '/health', port: 8080 }],
  ['http:/a//b', { type: 'http', path: '/a//b' }],
  ['delay:3s', { type: 'delay', delayMs: 3_000 }],
  ['delay:500ms', { type: 'delay', delayMs: 500 }],
  ['delay:0', { type: 'delay', delayMs: 0 }],
])('%s is read', (text, readiness) => {
  expect(parseReadiness(text)).toEqual(readiness);
});

test.each<[string, string]>([
  ['', 'there is no ""'],
  ['ready', 'there is no "ready"'],
  ['Listen', 'there is no "Listen"'],
  ['https:/health', 'there is no "https"'],
  ['tcp:8080', 'there is no "tcp"'],
  ['listen:8080', 'nothing follows listen'],
  ['notify:', 'nothing follows notify'],
  ['ipc:ready', 'nothing follows ipc'],
  ['http', 'it has no path, which begins with /'],
  ['http:8080', 'it has no path, which begins with /'],
  ['http://127.0.0.1:8080/health', 'leave out the host'],
  ['http://localhost/health', 'leave out the host'],
  ['http:0/health', 'a port is a number from 1 to 65535, not "0"'],
  ['http:65536/health', 'a port is a number from 1 to 65535, not "65536"'],
  ['http:127.0.0.1:8080/health', 'a port is a number from 1 to 65535, not "127.0.0.1:8080"'],
  ['http:/a b', 'a path has printable ASCII characters'],
  ['http:/a\r\nHost: b', 'a path has printable ASCII characters'],
  ['http:/ä', 'a path has printable ASCII characters'],
  ['delay', '"" is no time; write 500ms, 10s, 2m or 1h'],
  ['delay:soon', '"soon" is no time; write 500ms, 10s, 2m or 1h'],
])('%j is refused, with a reason and the forms', (text, why) => {
  expect(() => parseReadiness(text)).toThrow(
    expect.objectContaining({
      code: 'ERR_HOLDFAST_OPTION',
      message: expect.stringContaining(`readiness "${text}": ${why}`),
    }),
  );
  expect(() => parseReadiness(text)).toThrow(
    'the forms are listen, notify, ipc, http:/path, http:8080/path, delay:3s',
  );
});
