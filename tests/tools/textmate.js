// Tokens of texts by a TextMate grammar, as VS Code cuts them: node textmate.js GRAMMAR < texts.json > tokens.json
const fs = require("fs");
const path = require("path");
const textmate = require("vscode-textmate");
const oniguruma = require("vscode-oniguruma");

async function main() {
  const wasm = fs.readFileSync(path.join(path.dirname(require.resolve("vscode-oniguruma")), "onig.wasm")).buffer;
  await oniguruma.loadWASM(wasm);
  const registry = new textmate.Registry({
    onigLib: Promise.resolve({
      createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
      createOnigString: (text) => new oniguruma.OnigString(text),
    }),
    loadGrammar: async () => textmate.parseRawGrammar(fs.readFileSync(process.argv[2], "utf8"), "causal.json"),
  });
  const grammar = await registry.loadGrammar("source.causal");
  const told = JSON.parse(fs.readFileSync(0, "utf8")).map((text) => {
    let state = textmate.INITIAL;
    return text.split("\n").map((line) => {
      const found = grammar.tokenizeLine(line, state);
      state = found.ruleStack;
      return found.tokens.map((token) => [token.startIndex, token.endIndex, token.scopes]);
    });
  });
  process.stdout.write(JSON.stringify(told));
}

main();
