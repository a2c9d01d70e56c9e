// The library in one page: node examples/library.mjs
import { fileURLToPath } from "node:url";
import { data, findAttractors, loadAutoencoder, nativeEngine, noise, similarity } from "latent-dynamics";

const path = (name) => fileURLToPath(new URL(`mnist/${name}`, import.meta.url));
const controller = new AbortController();
process.once("SIGINT", () => controller.abort());

const model = await loadAutoencoder(path("mnist-conv-k16"));
try {
  const { sets } = await findAttractors(model, {
    from: {
      images: data(path("train-images-1000.idx3-ubyte.gz"), { count: 200 }),
      noise: noise(200, { scale: 3 }),
    },
    tolerance: 1e-6,
    signal: controller.signal,
    onProgress: ({ finished, total }) => console.error(`${finished} of ${total} points`),
  });
  const [images, wide] = sets;
  console.log(images.summary, wide.summary);
  console.log("attractors in common:", await similarity(images.attractors, wide.attractors));
  const pictures = await nativeEngine(model).decode(images.attractors, { threads: 1 });
  console.log(`${pictures.rows} decoded attractors of ${pictures.columns} pixels`);
} finally {
  await model[Symbol.asyncDispose]();
}
