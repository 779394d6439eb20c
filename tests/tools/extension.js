// The extension with a stub of the editor and of the language client: settings that change while the server starts, a command
// that is not there, and the run of a lens on a text that is not saved. Prints what happened, a line each.
const Module = require("module");

const said = [];
const clients = [];
let settings = { command: "causal-dsl", trust: false, allow: [] };
let changed;
let restart;

class LanguageClient {
  constructor(id, name, server, options) {
    Object.assign(this, { run: server.run, options, state: "made" });
    clients.push(this);
  }
  async start() {
    this.state = "starting";
    await new Promise((done) => setTimeout(done, 20));
    if (this.run.command === "missing") throw new Error("ENOENT");
    this.state = "running";
    said.push(["started", this.run.command, ...this.run.args].join(" "));
  }
  async stop() {
    if (this.state !== "running") throw new Error(`cannot be stopped while ${this.state}`);
    this.state = "stopped";
    said.push("stopped");
  }
}

const text = { uri: { toString: () => "file:///a.causal" }, isDirty: true, isUntitled: false, save: async () => said.push("saved") };
const vscode = {
  workspace: {
    getConfiguration: () => ({ get: (name) => settings[name] }),
    createFileSystemWatcher: () => ({}),
    onDidChangeConfiguration: (told) => ((changed = told), {}),
    textDocuments: [text],
  },
  window: { showErrorMessage: () => (said.push("told of the fault"), new Promise(() => {})) },
  commands: { registerCommand: (name, run) => ((restart = run), {}), executeCommand: async () => {} },
  Uri: { parse: (uri) => ({ toString: () => uri }) },
};
const load = Module._load;
Module._load = (name, ...rest) =>
  name === "vscode" ? vscode : name === "vscode-languageclient/node" ? { LanguageClient } : load(name, ...rest);
const extension = require(process.argv[2]);

const change = (more) => {
  settings = { ...settings, ...more };
  return changed({ affectsConfiguration: () => true });
};

(async () => {
  const active = extension.activate({ subscriptions: [] });
  change({ trust: true, allow: ["/data"] });
  await active;
  await restart();
  await change({ command: "missing" });
  await change({ command: "there" });
  said.push(await clients.at(-1).options.middleware.executeCommand("causal-dsl.run", ["file:///a.causal"], async () => "ran"));
  await extension.deactivate();
  console.log(said.join("\n"));
})();
