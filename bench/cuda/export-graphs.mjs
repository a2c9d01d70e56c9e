/**
 * Writes the graphs of f that bench/cuda measures, NAME.bin each, and encoded images as points beside the small ones:
 *
 *   node bench/cuda/export-graphs.mjs [FOLDER] [--only NAME]
 *
 * FOLDER is .gpu/graphs where none is given. mnist-conv-k16 is in the repository; the others come from
 * ../shared/models (or LATDYN_SHARED) and are skipped by name where they are not there.
 */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { lower } from "../../dist/graph/lower.js";
import { data, findAttractors, loadAutoencoder } from "../../dist/index.js";
import { graphOf } from "../../dist/models/autoencoder.js";
import { root } from "../setting.mjs";
import { writeGraphFile } from "./graphFile.mjs";

const shared = process.env.LATDYN_SHARED ?? join(root, "..", "shared");
const images = join(root, "examples", "mnist", "train-images-1000.idx3-ubyte.gz");
const MODELS = {
  "mnist-conv-k16": { path: join(root, "examples", "mnist", "mnist-conv-k16"), images },
  "mnist-conv-k128": { path: join(shared, "models", "mnist-conv-k128"), images },
  "taef2-8": { path: join(shared, "models", "taef2"), latentShape: [32, 8, 8], inputShape: [3, 64, 64] },
  "taef2-32": { path: join(shared, "models", "taef2"), latentShape: [32, 32, 32], inputShape: [3, 256, 256] },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: "string" } },
});
if (values.only !== undefined && !Object.hasOwn(MODELS, values.only)) {
  console.error(`export-graphs: --only is ${values.only}, expected one of ${Object.keys(MODELS).join(", ")}`);
  process.exit(2);
}
const folder = positionals[0] ?? join(root, ".gpu", "graphs");
mkdirSync(folder, { recursive: true });
for (const [name, { path, images, ...shapes }] of Object.entries(MODELS)) {
  if (values.only !== undefined && name !== values.only) continue;
  if (!existsSync(path)) {
    console.log(`${name}: skipped, there is no ${path}`);
    continue;
  }
  const model = await loadAutoencoder(path, shapes);
  try {
    const points =
      images === undefined ? { rows: 0, data: new Float32Array(0) } : await encoded(model, images);
    const bytes = writeGraphFile(join(folder, `${name}.bin`), {
      name,
      graph: lower(graphOf(model, "map")),
      points,
    });
    console.log(`${name}: ${(bytes / 1e6).toFixed(1)} MB, ${points.rows} points`);
  } finally {
    await model[Symbol.asyncDispose]();
  }
}

/** E(x) of every image. */
async function encoded(model, images) {
  const run = await findAttractors(model, { from: { data: data(images) }, maxIterations: 1 });
  return run.sets[0].initial;
}
