// Writes schema/holdfast.json, by which editors check a holdfast.yaml. Usage: node scripts/write-schema.js, after a build; then
// biome check --write schema.

import { writeFileSync } from 'node:fs';
import { jsonSchema } from '../dist/apps/schema.js';

writeFileSync(
  new URL('../schema/holdfast.json', import.meta.url),
  `${JSON.stringify(jsonSchema(), null, 2)}\n`,
);
