// Starts `causal-dsl lsp`, and hands it the texts of this editor.
const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

function words(settings) {
  const given = ["lsp"];
  if (settings.get("trust")) given.push("--trust");
  for (const folder of settings.get("allow")) given.push("--allow", folder);
  return given;
}

async function start() {
  const settings = vscode.workspace.getConfiguration("causal");
  const command = settings.get("command");
  const run = { command, args: words(settings) };
  client = new LanguageClient(
    "causal",
    "causal",
    { run, debug: run },
    {
      documentSelector: [{ language: "causal" }],
      synchronize: {
        fileEvents: vscode.workspace.createFileSystemWatcher("**/*.{causal,csv,jsonl,json,parquet,txt,py,safetensors}"),
      },
      middleware: {
        // A run reads the file: what is in the editor is saved before.
        executeCommand: async (name, given, next) => {
          if (name === "causal-dsl.run") {
            const open = vscode.workspace.textDocuments.find((text) => text.uri.toString() === vscode.Uri.parse(given[0]).toString());
            if (open && open.isDirty && !open.isUntitled) await open.save();
          }
          return next(name, given);
        },
      },
    },
  );
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    // Not waited for: a setting that is changed meanwhile starts the server again.
    vscode.window
      .showErrorMessage(
        `\`${command} lsp\` cannot be started: install it with pip install 'causal-dsl[lsp]', or name its command in the settings. (${error.message || error})`,
        "Open settings",
      )
      .then((choice) => choice && vscode.commands.executeCommand("workbench.action.openSettings", "causal.command"));
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running) await running.stop();
}

async function activate(context) {
  // One after the other: a client that is still starting cannot be stopped.
  let turn = start();
  const restart = () => (turn = turn.then(stop, stop).then(start));
  context.subscriptions.push(
    vscode.commands.registerCommand("causal.restart", restart),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (["command", "trust", "allow"].some((name) => change.affectsConfiguration(`causal.${name}`))) return restart();
    }),
  );
  await turn;
}

module.exports = { activate, deactivate: stop };
