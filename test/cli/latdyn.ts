/** Runs the built command as a user would. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
export const exampleFolder = fileURLToPath(new URL("../../examples/mnist/", import.meta.url));
export const exampleModel = `${exampleFolder}mnist-conv-k16`;

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  cwd: string;
  env?: Record<string, string>;
  /** Called with the process and what it has written to stderr so far, whenever that grows. */
  onStderr?: (kill: (signal: NodeJS.Signals) => void, text: string) => void;
}

export function latdyn(args: readonly string[], { cwd, env = {}, onStderr }: RunOptions): Promise<Outcome> {
  if (!existsSync(main)) throw new Error(`${main} is missing: run "npm run build:ts"`);
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...args], { cwd, env: { ...process.env, ...env } });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
      onStderr?.((signal) => child.kill(signal), stderr);
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}
