// Reads texts, one a line as JSON, and answers each with a line: {"md": tree}, or {"unsure": why} where the parser is of
// two minds. Its answer may depend on what it parsed before, so each text is parsed after two different ones. It may also
// take more than a lifetime, so each has its time.
const vm = require("vm");
const readline = require("readline");
const { parse } = require("@rocket.chat/message-parser");

const LONGEST = 2000;
const BEFORE = ["x", "~_x"];

function answer(text) {
  const trees = BEFORE.map((before) => {
    parse(before);
    globalThis.run = () => JSON.stringify(parse(text));
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
  }
  process.stdout.write(JSON.stringify(said) + "\n");
});
