import { release } from 'node:os';
import { errorText } from '../errors.js';
import { version } from '../version.js';
import type { Surroundings } from './linux.js';
import { no, type Part, type Report, yes } from './report.js';

/**
 * Tries everything that holdfast needs on this machine. Works on every platform; what needs Linux is loaded there
 * only, and `surroundings` is asked there only.
 */
export async function examine(surroundings: () => Promise<Surroundings>): Promise<Report> {
  const platform = platformPart();
  const parts =
    platform.works === 'yes'
      ? [platform, ...(await linuxParts(surroundings))]
      : [platform, { name: 'elsewhere', required: false, ...ELSEWHERE }];
  return {
    holdfast: version,
    node: process.version,
    platform: process.platform,
    arch: process.arch,
    kernel: release(),
    runs: parts.every((part) => !part.required || part.works !== 'no'),
    parts,
  };
}

const ELSEWHERE = yes("help, completion, doctor, and the library's version and errors work on every system");

function platformPart(): Part {
  const here = `${process.platform} on ${process.arch}`;
  const works = process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64');
  const remedy = 'holdfast run, status and stop and the library need Linux on x64 or arm64';
  return { name: 'platform', required: true, ...(works ? yes(here) : no(here, remedy)) };
}

async function linuxParts(surroundings: () => Promise<Surroundings>): Promise<readonly Part[]> {
  const name = 'native calls';
  try {
    const [{ examineLinux }, given] = await Promise.all([import('./linux.js'), surroundings()]);
    const parts = await examineLinux(given);
    return [{ name, required: true, ...yes('the C library is called through koffi') }, ...parts];
  } catch (error) {
    const remedy = 'install holdfast again, with optional dependencies';
    return [{ name, required: true, ...no(`koffi: ${errorText(error).split('\n')[0]}`, remedy) }];
  }
}
