/** What a command line runs, with the interpreter and its flags taken off. */
export interface Program {
  /** Its name, that of a tool without an ending: `vite` of `node /shop/node_modules/.bin/vite`. */
  readonly name: string;
  /** As the command line has it. */
  readonly path: string;
  readonly args: readonly string[];
  /** Those of the interpreter. */
  readonly flags: readonly string[];
}

const INTERPRETER = /^(?:node|nodejs|python[\d.]*|ruby[\d.]*|perl[\d.]*|php[\d.]*|(?:ba|da|z)?sh)$/;

/** Flags of interpreters whose value is the next word. */
const VALUED =
  /^(?:-r|--require|--import|--loader|--experimental-loader|-C|--conditions|-W|-X|-I|-d|--env-file)$/;

/** Reads a command line, or the one word that a program has made its title: `npm run dev`. */
export function programOf(cmdline: readonly string[]): Program {
  const [first = '', ...rest] = cmdline.length === 1 ? titleWords(cmdline[0] ?? '') : cmdline;
  if (!INTERPRETER.test(basename(first))) return program(first, rest, []);
  const at = scriptAt(rest);
  const script = rest[at];
  // A line given as text (-e, -c) is no program that has a name, nor is one that comes through an fd.
  if (
    script === undefined ||
    /^\/(?:dev\/fd|proc\/\w+\/fd)\//.test(script) ||
    rest.slice(0, at).some((flag) => /^(?:-e|-c|-p|--eval|--print)$/.test(flag))
  ) {
    return program(first, rest.slice(at), rest.slice(0, at));
  }
  return program(script, rest.slice(at + 1), rest.slice(0, at));
}

/** Titles are one word with everything in it, and often a colon after the name. */
function titleWords(title: string): readonly string[] {
  return title.trim().split(/\s+/);
}

/** Index of the script, or of the module's name after Python's `-m`. */
function scriptAt(words: readonly string[]): number {
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (word === '-m' || word === '--') return at + 1;
    if (!word.startsWith('-')) return at;
    if (VALUED.test(word)) at++;
  }
  return words.length;
}

function program(path: string, args: readonly string[], flags: readonly string[]): Program {
  return { name: nameOf(path), path, args, flags };
}

/** Where tools are installed: there `nodemon.js` is nodemon, while a `make.js` elsewhere is no make. */
const TOOLS = /\/(?:node_modules|\.yarn\/releases|corepack)\//;
/** Files whose package has the name: `node_modules/tsx/dist/cli.mjs`. */
const ENTRY = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?:.*\/)?(?:cli|bin|main|index|start|npm-cli|npx-cli)$/;

function nameOf(path: string): string {
  const name = basename(path).replace(/:$/, '');
  if (!TOOLS.test(path)) return name;
  const ending = /\.[cm]?js$/;
  const owner = ENTRY.exec(path.replace(ending, ''))?.[1];
  return owner === undefined ? name.replace(ending, '').replace(/^yarn-[\d.]+$/, 'yarn') : basename(owner);
}

/** As of node:path, which is not for the model. */
function basename(path: string): string {
  return path.replace(/\/+$/, '').split('/').at(-1) ?? '';
}
