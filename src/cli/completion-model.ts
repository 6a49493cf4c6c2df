import type { Command, Option } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;

export type Shell = (typeof SHELLS)[number];

/** What may stand in a place: these words, what the shell or holdfast knows, or something nobody can guess. */
export type Values = readonly string[] | 'users' | 'groups' | 'keepers' | 'files' | 'server' | 'unknown';

/** An option as completion scripts need it. */
export interface CompletionOption {
  /** `-h` and `--help`. */
  readonly flags: readonly string[];
  readonly description: string;
  /** Name of its value; undefined when it takes none. */
  readonly valueName: string | undefined;
  readonly values: Values;
  readonly repeatable: boolean;
}

export interface CompletionCommand {
  readonly name: string;
  readonly description: string;
  readonly options: readonly CompletionOption[];
  /** What its one argument may be. `server`: a command line of its own. */
  readonly argument: Values;
}

/** The whole command line. `options` are those before any command. */
export interface CompletionModel {
  readonly options: readonly CompletionOption[];
  readonly commands: readonly CompletionCommand[];
}

/** What the program's description says, for every shell alike. */
export function modelOf(program: Command): CompletionModel {
  const names = program.commands.map((command) => command.name());
  return {
    options: optionsOf(program),
    commands: program.commands.map((command) => ({
      name: command.name(),
      description: command.description(),
      options: allOptionsOf(command),
      argument: argumentOf(command, names),
    })),
  };
}

/** By the name of the argument: commander knows choices only for those that it is to check itself. */
function argumentOf(command: Command, names: readonly string[]): Values {
  if (command.commands.length > 0) return command.commands.map((one) => one.name());
  const [argument] = command.registeredArguments;
  if (argument?.variadic === true && argument.name() !== 'name') return 'server';
  switch (argument?.name()) {
    case undefined:
      return [];
    case 'name':
      return 'keepers';
    case 'shell':
      return SHELLS;
    case 'command':
      return names;
    default:
      return 'unknown';
  }
}

/** With those of its own commands, each once. */
function allOptionsOf(command: Command): readonly CompletionOption[] {
  const all = [command, ...command.commands].flatMap((one) => optionsOf(one));
  const byFlags = new Map(all.map((option) => [option.flags.join(' '), option]));
  return [...byFlags.values()];
}

function optionsOf(command: Command): readonly CompletionOption[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map((option) => ({
      flags: [option.short, option.long].filter((flag) => flag !== undefined),
      description: option.description,
      valueName: option.required ? option.name() : undefined,
      values: valuesOf(option),
      // commander has no such property; the description must say it anyway.
      repeatable: option.description.includes('repeatable'),
    }));
}

function valuesOf(option: Option): Values {
  if (option.argChoices !== undefined) return option.argChoices;
  switch (option.name()) {
    case 'user':
      return 'users';
    case 'group':
      return 'groups';
    case 'keeper':
      return 'keepers';
    case 'file':
    case 'groups':
    case 'script':
    case 'from':
    case 'output':
      return 'files';
    default:
      return 'unknown';
  }
}

/** Every option that takes a value, with its command ('' for holdfast itself): the word after it is no command and no argument. */
export function valueFlags(
  model: CompletionModel,
): readonly { readonly command: string; readonly flag: string }[] {
  return [{ name: '', options: model.options }, ...model.commands].flatMap(({ name, options }) =>
    options
      .filter((option) => option.valueName !== undefined)
      .flatMap(({ flags }) => flags.map((flag) => ({ command: name, flag }))),
  );
}

/**
 * Prints the names of the running keepers. The JSON is what `status` prints: one name per line, indented by four.
 */
export const KEEPER_NAMES =
  'holdfast status --json 2>/dev/null | sed -n \'s/^    "name": "\\(.*\\)",$/\\1/p\'';

/** The text between single quotes, for bash and zsh. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
