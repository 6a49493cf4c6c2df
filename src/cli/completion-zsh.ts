import {
  type CompletionCommand,
  type CompletionModel,
  type CompletionOption,
  KEEPER_NAMES,
  quote,
  type Values,
} from './completion-model.js';

/** The script for zsh, to be loaded after compinit or to be put into a folder of $fpath as `_holdfast`. */
export function zshScript(model: CompletionModel): string {
  return `#compdef holdfast
# zsh completion for holdfast. In ~/.zshrc, after compinit: source <(holdfast completion zsh)

_holdfast() {
  local curcontext=$curcontext context state state_descr line
  typeset -A opt_args
  _arguments -C \\
    ${model.options.map(optionSpec).join(' \\\n    ')} \\
    '1:command:_holdfast_commands' \\
    '*::argument:->argument' && return
  [[ $state == argument ]] || return
  curcontext=\${curcontext%:*}-$words[1]:
  case $words[1] in
${model.commands.map(commandCase).join('\n')}
  esac
}

_holdfast_commands() {
  local -a commands=(
    ${model.commands.map(({ name, description }) => quote(`${name}:${description}`)).join('\n    ')}
  )
  _describe -t commands command commands
}

_holdfast_keepers() {
  local -a names=(\${(f)"$(${KEEPER_NAMES})"})
  _wanted keepers expl keeper compadd -a names
}

if [[ $funcstack[1] == _holdfast ]]; then _holdfast "$@"
else compdef _holdfast holdfast
fi
`;
}

function commandCase({ name, options, argument }: CompletionCommand): string {
  const specs = [...options.map(optionSpec), ...argumentSpecs(argument)];
  // _arguments loses the options of a server that follows a leading --.
  const server = `
      if (( words[(i)--] < CURRENT )); then
        (( CURRENT -= words[(i)--] ))
        shift 'words[(i)--]' words
        _normal
        return
      fi`;
  return `    ${name})${argument === 'server' ? server : ''}
      _arguments -S${argument === 'server' ? " -A '-*'" : ''} \\
        ${specs.join(' \\\n        ')} ;;`;
}

function argumentSpecs(argument: Values): readonly string[] {
  if (argument === 'server') return ["'(-)1:command: _command_names -e'", "'*::arguments: _normal'"];
  if (argument.length === 0) return [];
  return [quote(`1:argument:${action(argument)}`)];
}

function optionSpec({ flags, description, valueName, values, repeatable }: CompletionOption): string {
  const [first = '', ...others] = flags;
  const text = `[${description.replace(/[[\]:\\]/g, '\\$&')}]`;
  if (valueName !== undefined && others.length > 0) {
    const value = quote(`${text}:${valueName}:${action(values)}`);
    return `'(${flags.join(' ')})'{${first}+,${others.map((flag) => `${flag}=`).join(',')}}${value}`;
  }
  if (valueName !== undefined) {
    const rest = `${text}:${valueName}:${action(values)}`;
    if (others.length === 0) return quote(`${repeatable ? '*' : ''}${first}=${rest}`);
    const all = flags.map((flag) => (flag.startsWith('--') ? `${flag}=` : flag));
    return `'(${flags.join(' ')})'{${all.join(',')}}${quote(rest)}`;
  }
  if (others.length === 0) return quote(`${first}${text}`);
  // Nothing goes with these.
  const isAlone = flags.includes('--help') || flags.includes('--version');
  return `'(${isAlone ? '- *' : flags.join(' ')})'{${flags.join(',')}}${quote(text)}`;
}

function action(values: Values): string {
  switch (values) {
    case 'users':
      return '_users';
    case 'groups':
      return '_groups';
    case 'keepers':
      return '_holdfast_keepers';
    case 'files':
      return '_files';
    case 'server':
    case 'unknown':
      return ' ';
    default:
      return `(${values.join(' ')})`;
  }
}
