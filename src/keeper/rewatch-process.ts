import { addToEpoll } from '../kernel/epoll.js';
import { duplicate, duplicateTo } from '../kernel/fd.js';

// The program that `rewatch` runs. fd 3 is the epoll instance, 4 the socket; arguments: the number that the socket has
// in the process whose epoll instance it is, the events, the data.

const [fd, events, data] = process.argv.slice(2);
/** Above every number that Node itself uses. */
const OUT_OF_THE_WAY = 512;

const epoll = duplicate(3, OUT_OF_THE_WAY);
const socket = duplicate(4, OUT_OF_THE_WAY);
// This may take the place of an fd of Node's own, so nothing but the exit may come after it.
duplicateTo(socket, Number(fd));
addToEpoll(epoll, Number(fd), { events: Number(events), data: BigInt(data ?? 0) });
process.exit(0);
