/** `npm run bench -- kernels [--model k16|PATH] [--threads N]`: the kernels one by one, with benny. */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import benny from "benny";
import { nativeEngine } from "../dist/engines/native.js";
import { loadAutoencoder } from "../dist/index.js";
import { native } from "../dist/native.js";
import { findModel, positive } from "./setting.mjs";

export async function run(args) {
  const { values } = parseArgs({
    args,
    options: { model: { type: "string", default: "k16" }, threads: { type: "string" } },
  });
  const threads = positive("threads", values.threads, availableParallelism());
  const model = await loadAutoencoder(findModel(values.model).path);
  const k = model.latentDimension;
  const { noise, deduplicate } = native();

  await benny.suite(
    `noise, 10,000 points of ${k}`,
    benny.add("Philox4x32-10 and Box-Muller", () => {
      noise(0, 0, 10_000, k, 1);
    }),
    benny.cycle(),
  );

  const engine = nativeEngine(model);
  const rows = engine.plan().tileRows * threads * 8;
  const latents = { data: noise(0, 0, rows, k, 1), rows, columns: k };
  await benny.suite(
    `f once on ${rows} points of ${model.name}, ${threads} threads`,
    benny.add(engine.plan().layout, async () => {
      await engine.apply(latents, { threads });
    }),
    benny.cycle(),
  );

  // Few attractors, as real models have, and none alike, the worst case of the rule.
  const centres = noise(1, 0, 50, k, 1);
  const near = noise(2, 0, 10_000, k, 1e-3).map((value, i) => {
    const row = Math.floor(i / k);
    return value + centres[(row % 50) * k + (i % k)];
  });
  const apart = noise(3, 0, 10_000, 128, 1);
  const rules = ["greedy", "components", "euclidean"];
  const cases = [
    [`10,000 points of ${k} around 50 attractors`, near, k],
    ["10,000 points of 128, no two alike", apart, 128],
  ];
  for (const [name, points, columns] of cases) {
    await benny.suite(
      `deduplicate: ${name}, ${threads} threads`,
      ...rules.map((rule) =>
        benny.add(rule, async () => {
          await deduplicate(points, columns, { rule, threshold: 0.99, distance: 0.01, threads }).promise;
        }),
      ),
      benny.cycle(),
    );
  }
  await model[Symbol.asyncDispose]();
}
