import { expect, test } from 'vitest';
import { splitWords } from '../../src/model/words.js';

test.each<[line: string, words: readonly string[]]>([
  ['node server.js', ['node', 'server.js']],
  ['  node \t server.js\n --port 80 ', ['node', 'server.js', '--port', '80']],
  [`node -e 'a b' "c d"`, ['node', '-e', 'a b', 'c d']],
  [`a "" ''`, ['a', '', '']],
  [`a b"c d"'e f'`, ['a', 'bc de f']],
  [`a "it's" '"'`, ['a', "it's", '"']],
  [String.raw`a b\ c \"`, ['a', 'b c', '"']],
  [String.raw`a "\" \\ \$ \n"`, ['a', String.raw`" \ $ \n`]],
  [String.raw`a '\n $x | ;'`, ['a', String.raw`\n $x | ;`]],
  ['a "x | y; z > w"', ['a', 'x | y; z > w']],
  ['uvicorn --fd {fd} app:app', ['uvicorn', '--fd', '{fd}', 'app:app']],
  ['a *.js ~ #b ?x=1', ['a', '*.js', '~', '#b', '?x=1']],
  ['a B=c', ['a', 'B=c']],
  ["'A=b' c", ['A=b', 'c']],
])('%s is split into words', (line, words) => {
  expect(splitWords(line)).toEqual(words);
});

test.each([
  ['', /names no program/],
  ['   ', /names no program/],
  ["'' a", /names no program/],
  ["a 'b", /a ' is not closed/],
  ['a "b', /a " is not closed/],
  ['a \\', /quotes nothing/],
  ['cd x && node y', /"&" is for a shell.*\["sh", "-c"/],
  ['a | b', /"\|" is for a shell/],
  ['a; b', /";" is for a shell/],
  ['a > b', /">" is for a shell/],
  ['a $HOME', /"\$" is for a shell/],
  ['a "$HOME"', /"\$" is for a shell/],
  ['a `b`', /"`" is for a shell/],
  ['PORT=80 node a', /"PORT=80" is for a shell; put it under env/],
])('%s is refused, with what to do', (line, why) => {
  expect(splitWords(line)).toEqual({ why: expect.stringMatching(why) });
});
