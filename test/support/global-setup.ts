import { buildServers } from './servers.js';

export default function setup(): void {
  buildServers();
}
