import { afterAll } from 'vitest';
import { stopRunning } from './process.js';
import { removeTemporaryFolders } from './temporary.js';

afterAll(async () => {
  await stopRunning();
  removeTemporaryFolders();
});
