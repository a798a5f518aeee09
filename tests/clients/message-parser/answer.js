// Reads texts with options, {"text", "options"}, one a line, and answers each with a line: {"md": tree}, or
// {"unsure": why} where the parser is of two minds. Its answer may depend on what it parsed before, so each text is parsed
// after two different ones. It may also take more than a lifetime, so each has its time. A parser that was stopped on its
// way never forgets it: the next text has a new one.
const vm = require("vm");
const readline = require("readline");

const LONGEST = 2000;
const BEFORE = ["x", "~_x"];

function newParser() {
  for (const file of Object.keys(require.cache).filter((file) => file.includes("message-parser"))) {
    delete require.cache[file];
  }
  return require("@rocket.chat/message-parser").parse;
}

let parse = newParser();

function answer({ text, options }) {
  const trees = BEFORE.map((before) => {
    parse(before);
    globalThis.run = () => JSON.stringify(parse(text, options));
    return vm.runInThisContext("run()", { timeout: LONGEST });
  });
  return trees[0] === trees[1] ? { md: JSON.parse(trees[0]) } : { unsure: "differs" };
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  let said;
  try {
    said = answer(JSON.parse(line));
  } catch (error) {
    said = { unsure: String(error.message).slice(0, 100) };
    parse = newParser();
  }
  process.stdout.write(JSON.stringify(said) + "\n");
});
