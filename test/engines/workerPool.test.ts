import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { type WorkerPool, workerPool } from "../../src/engines/workerPool.js";
import { EngineError, InputError } from "../../src/errors.js";

const script = new URL("../support/poolThread.mjs", import.meta.url);

interface Request {
  doThis: "double" | "count" | "busy" | "refuse" | "throw" | "leave";
  value?: unknown;
  milliseconds?: number;
}

const pools: WorkerPool<Request, number>[] = [];
function pool(threads: number): WorkerPool<Request, number> {
  const made = workerPool<Request, number>({ script, data: { factor: 2 }, threads, name: "pool" });
  pools.push(made);
  return made;
}
afterEach(async () => {
  await Promise.all(pools.splice(0).map((each) => each.close()));
});

describe("workerPool", () => {
  it("gives every call its own answer", async () => {
    const { call } = pool(2);
    const values = Array.from({ length: 20 }, (_, i) => i);
    const answers = await Promise.all(values.map((value) => call({ doThis: "double", value })));
    expect(answers).toEqual(values.map((value) => 2 * value));
  });

  it("starts a thread only where no other is free", async () => {
    const { call } = pool(3);
    // Each thread counts its own calls.
    for (const expected of [1, 2, 3]) expect(await call({ doThis: "count" })).toBe(expected);
    const both = await Promise.all([call({ doThis: "count", milliseconds: 5 }), call({ doThis: "count" })]);
    expect(both).toEqual([4, 1]);
  });

  it("never gives a thread two requests at once, nor starts more threads than it may", async () => {
    const { call } = pool(1);
    const calls = [1, 2, 3].map(() => call({ doThis: "count", milliseconds: 5 }));
    expect(await Promise.all(calls)).toEqual([1, 2, 3]);
  });

  it("rejects with the thread's own error, and goes on", async () => {
    const { call } = pool(1);
    await expect(call({ doThis: "refuse", value: "input" })).rejects.toThrow(
      new InputError("refused as input"),
    );
    await expect(call({ doThis: "refuse", value: "engine" })).rejects.toThrow(
      new EngineError("refused as engine"),
    );
    expect(await call({ doThis: "count" })).toBe(3);
  });

  it("a thread that ends takes its call with it and no other", async () => {
    const { call } = pool(2);
    const [left, thrown, other, late] = await Promise.allSettled([
      call({ doThis: "leave", value: 7 }),
      call({ doThis: "throw" }),
      call({ doThis: "double", value: 1 }),
      call({ doThis: "double", value: 2 }),
    ]);
    expect(left).toMatchObject({ reason: new EngineError("pool: its thread ended with exit code 7") });
    expect(thrown).toMatchObject({ reason: new EngineError("pool: its thread failed: a mistake") });
    expect([other, late]).toMatchObject([{ value: 2 }, { value: 4 }]);
  });

  it("leaves the event loop to others while threads compute", async () => {
    const { call } = pool(1);
    await call({ doThis: "count" });
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    await call({ doThis: "busy", milliseconds: 100 });
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(10);
  });

  it("close rejects what waits and what runs, and every later call", async () => {
    const made = pool(1);
    const outcome = Promise.allSettled([
      made.call({ doThis: "busy", milliseconds: 50 }),
      made.call({ doThis: "count" }),
    ]);
    await made.close();
    for (const { reason } of (await outcome) as PromiseRejectedResult[]) {
      expect(reason).toEqual(new EngineError("pool: was closed during a call"));
    }
    await expect(made.call({ doThis: "count" })).rejects.toThrow(new EngineError("pool: has been closed"));
    await made.close();
  });

  it("a request that cannot be sent is an error of its own", async () => {
    const { call } = pool(1);
    await expect(call({ doThis: "double", value: () => 1 })).rejects.toThrow(EngineError);
    expect(await call({ doThis: "double", value: 1 })).toBe(2);
  });

  it("does not keep the process alive when nothing is asked of it, and does when something is", () => {
    const built = new URL("../../dist/engines/workerPool.js", import.meta.url).href;
    const program = `
      import { workerPool } from ${JSON.stringify(built)};
      const { call } = workerPool({
        script: new URL(${JSON.stringify(script.href)}), data: { factor: 2 }, threads: 2, name: "pool",
      });
      call({ doThis: "count", milliseconds: 50 }).then((n) => console.log("answer", n));`;
    const run = spawnSync(process.execPath, ["--input-type=module", "--eval", program], {
      encoding: "utf8",
      cwd: fileURLToPath(new URL(".", import.meta.url)),
      timeout: 30_000,
    });
    expect(run).toMatchObject({ status: 0, stdout: "answer 1\n", stderr: "" });
  });
});
