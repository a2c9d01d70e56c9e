/**
 * The attractors of a small autoencoder trained on MNIST: 1,000 images and 1,000 draws of noise are followed
 * until they come to rest. Writes ./demo-run, replacing what an earlier demo wrote there.
 */
import { join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { data, extractAttractors, noise } from "latent-dynamics";

const here = fileURLToPath(new URL(".", import.meta.url));
const folder = "demo-run";

const { run } = await extractAttractors(join(here, "mnist-conv-k16"), {
  from: {
    data: data(join(here, "train-images-1000.idx3-ubyte.gz")),
    noise: noise(1000, { randomSeed: 0 }),
  },
  out: folder,
  overwrite: true,
  onProgress: showProgress,
});
showProgress(null);

const { summary, timing } = run.record;
const line = (...cells) =>
  console.log(cells.map((cell, i) => String(cell).padStart(i === 0 ? 5 : 12)).join(""));
console.log(`The map f = E∘D of ${run.record.model.name}, k = ${run.record.model.latentDimension}\n`);
line("", "points", "converged", "cycle", "diverged", "iterations", "attractors");
for (const [name, set] of Object.entries(summary)) {
  line(
    name,
    set.points,
    set.converged,
    set.cycle,
    set.diverged,
    set.meanIterations?.toFixed(1),
    set.attractors,
  );
}
console.log(`
${timing.mapEvaluations.toLocaleString("en-US")} applications of f in ${timing.seconds.toFixed(1)} s.

Started from the codes of real images, points come to rest at ${summary.data.attractors} attractors: decoded, most are digits, and the
largest basin belongs to a nearly black picture. Started from noise they end at ${summary.noise.attractors}, because N(0, I) lies deep
inside the basin of that dark picture. Points that diverge are no mistake: far from the data a ReLU network is
nearly linear, and in some directions it grows.

Report: ${relative(process.cwd(), join(folder, "report.html"))}
        ${pathToFileURL(join(folder, "report.html"))}`);

/** A live line on a terminal; null takes it away. */
function showProgress(progress) {
  if (!process.stderr.isTTY) return;
  process.stderr.write("\r\x1b[2K");
  if (progress === null) return;
  const { phase, set, finished, total, rowsPerSecond } = progress;
  const full = Math.round((24 * finished) / Math.max(1, total));
  const bar = "█".repeat(full) + "─".repeat(24 - full);
  process.stderr.write(
    `${phase} ${set} ${bar} ${finished} / ${total}, ${Math.round(rowsPerSecond)} points/s`,
  );
}
