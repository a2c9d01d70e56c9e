/**
 * A program to compare with, kept running so that its rounds can stand between ours: it answers every line on
 * its standard input with one JSON object on its standard output.
 */
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { root } from "./setting.mjs";

/** The interpreter that peers run in. */
export const python = process.env.LATDYN_PYTHON ?? "/usr/bin/python3";

/** Whether Python has the modules; says what to install where it has not. */
export function hasModules(modules, packages) {
  const found = spawnSync(python, ["-c", `import ${modules}`], { stdio: "ignore" }).status === 0;
  if (!found)
    console.log(`peer: skipped, ${python} has no ${modules} (Debian: sudo apt-get install ${packages})`);
  return found;
}

/** Starts bench/peers/SCRIPT. `round()` gives its next answer; `stop()` ends it. */
export function startPeer(script, args) {
  const child = spawn(python, [join(root, "bench", "peers", script), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise((resolve) => child.once("close", resolve));
  return {
    async round() {
      child.stdin.write("\n");
      const { value, done } = await lines.next();
      if (done) throw new Error(`${script} ended before it answered (exit code ${await ended})`);
      return JSON.parse(value);
    },
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}
