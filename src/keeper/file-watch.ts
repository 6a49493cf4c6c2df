import { relative, resolve, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FSWatcher, watch } from 'chokidar';
import picomatch from 'picomatch';

/** Changes that come together are told together. */
const TOGETHER_MS = 100;
/** Of files that change all the time, after so long. */
const TOGETHER_MAX_MS = 1_000;

/** What never is a server's source, in the folder that is watched: packages, caches, what begins with a dot. */
const NOISE_FOLDERS = ['node_modules', 'bower_components', '__pycache__', 'coverage'];
/** What servers and editors write themselves: logs, databases, sockets, backups. */
const NOISE_FILES =
  /~$|^4913$|^#.*#$|\.(log|pid|sock|lock|tmp|temp|bak|swp|swx|pyc|db|sqlite3?|rdb|aof)$|\.log\.|\.(db|sqlite3?)-(wal|shm|journal)$/i;

export interface FileWatchOptions {
  readonly directory: string;
  /** What is meant, relative to the folder; none: everything in it. */
  readonly globs: readonly string[];
  /** Files that are not meant, absolute: what the server itself writes to. */
  readonly except?: readonly string[];
  /** Told of files that were added, changed or removed. What changes before it has settled is told after that. */
  readonly changed: (files: readonly string[]) => Promise<unknown>;
  readonly failed: (error: unknown) => void;
}

/** Files that are being watched. */
export interface FileWatch {
  close(): Promise<void>;
}

/** Watches files. Resolves when every change from now on is seen. */
export async function watchFiles({
  directory,
  globs,
  except = [],
  changed,
  failed,
}: FileWatchOptions): Promise<FileWatch> {
  const scope = scopeOf(directory, globs);
  const controller = new AbortController();
  const batches = new Batches(changed, controller.signal, failed);
  const watcher: FSWatcher = watch([...scope.roots], {
    ignoreInitial: true,
    ignored: (path, stats) => except.includes(path) || scope.ignores(path, stats?.isFile() === true),
  });
  const add = (path: string): void => batches.add(relative(directory, path));
  watcher.on('add', add).on('change', add).on('unlink', add).on('error', failed);
  await new Promise<void>((ready) => watcher.once('ready', ready));
  return {
    close: async () => {
      controller.abort();
      await watcher.close();
    },
  };
}

/** Which files are meant. */
interface Scope {
  /** Folders and files that have all of them. */
  readonly roots: readonly string[];
  /** Of a path that is not known to be a file: whether nothing below it is meant either. */
  readonly ignores: (path: string, isFile: boolean) => boolean;
}

export function scopeOf(directory: string, globs: readonly string[]): Scope {
  if (globs.length === 0) {
    return { roots: [directory], ignores: (path, isFile) => isNoise(directory, path, isFile) };
  }
  const patterns = globs.map((glob) => picomatch.scan(resolve(directory, glob)));
  const matches = picomatch(patterns.map(({ base, glob }) => (glob === '' ? base : `${base}/${glob}`)));
  const roots = [...new Set(patterns.map(({ base }) => base))];
  // What is in a folder with such a name is meant when the pattern has the name.
  const named = NOISE_FOLDERS.filter((name) => globs.some((glob) => glob.split('/').includes(name)));
  return {
    roots,
    ignores: (path, isFile) => {
      if (isFile) return !matches(path);
      // A file that is not there yet is seen by its folder.
      if (roots.some((root) => isWithin(path, root))) return false;
      const below = roots.map((root) => relative(root, path).split(sep)).filter(([first]) => first !== '..');
      return below.every((parts) =>
        parts.some((part) => part === '.git' || (NOISE_FOLDERS.includes(part) && !named.includes(part))),
      );
    },
  };
}

function isWithin(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder === sep ? sep : folder + sep);
}

function isNoise(directory: string, path: string, isFile: boolean): boolean {
  const parts = relative(directory, path).split(sep);
  const hidden = parts.some((part) => part.startsWith('.') || NOISE_FOLDERS.includes(part));
  return hidden || (isFile && NOISE_FILES.test(parts.at(-1) ?? ''));
}

/** Puts changes together, and has them told one batch after the other. */
class Batches {
  readonly #tell: (files: readonly string[]) => Promise<unknown>;
  readonly #signal: AbortSignal;
  readonly #failed: (error: unknown) => void;
  readonly #files = new Set<string>();
  #lastMs = 0;
  #isTelling = false;

  constructor(
    tell: (files: readonly string[]) => Promise<unknown>,
    signal: AbortSignal,
    failed: (error: unknown) => void,
  ) {
    this.#tell = tell;
    this.#signal = signal;
    this.#failed = failed;
  }

  add(file: string): void {
    this.#files.add(file);
    this.#lastMs = performance.now();
    if (!this.#isTelling) void this.#tellAll();
  }

  async #tellAll(): Promise<void> {
    this.#isTelling = true;
    while (this.#files.size > 0) {
      const latestMs = performance.now() + TOGETHER_MAX_MS;
      for (let waitMs = TOGETHER_MS; waitMs > 0; ) {
        await sleep(waitMs);
        waitMs = Math.min(this.#lastMs + TOGETHER_MS, latestMs) - performance.now();
      }
      if (this.#signal.aborted) return;
      const files = [...this.#files].sort();
      this.#files.clear();
      try {
        await this.#tell(files);
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#isTelling = false;
  }
}
