// A server without anything special about it: answers with its pid and with how many answers it has given.
// Usage: node http-server.js. The environment's PORT counts, 8080 by default.

import { createServer } from 'node:http';

const port = Number(process.env.PORT ?? 8080);
let count = 0;

const server = createServer((_request, response) => {
  count += 1;
  response.end(`pid ${process.pid} answer ${count}\n`);
});

server.listen(port, '127.0.0.1', () => console.log(`pid ${process.pid} listens on 127.0.0.1:${port}`));
