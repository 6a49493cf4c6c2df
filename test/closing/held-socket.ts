import { onTestFinished } from 'vitest';
import { close } from '../../src/kernel/fd.js';
import type { Fd } from '../../src/kernel/libc.js';
import { bind, listen, localAddress, setReuseAddress, streamSocket } from '../../src/kernel/socket.js';

/** A listening socket that this process has and never accepts from, as a keeper does. */
export function heldSocket(): { readonly fd: Fd; readonly port: number } {
  const fd = streamSocket('ipv4');
  onTestFinished(() => close(fd));
  setReuseAddress(fd, true);
  const at = { family: 'ipv4', host: '127.0.0.1', port: 0 } as const;
  bind(fd, at);
  listen(fd, 4_096, at);
  const address = localAddress(fd);
  if (address?.family !== 'ipv4') throw new Error('no address');
  return { fd, port: address.port };
}
