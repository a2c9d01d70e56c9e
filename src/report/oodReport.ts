/** The page on out-of-distribution detection: the table of all scores, and the distributions behind it. */
import { type OodRecord, type OodScores, SCORES, type ScoreName } from "../analysis/ood.js";
import { rocCurve } from "../analysis/roc.js";
import { renderChart } from "./charts.js";
import { deviceText } from "./device.js";
import { count, duration, share } from "./format.js";
import { distributionChart, groupKey, rocChart } from "./measureCharts.js";
import { facts, figure, type Html, html, noticeOf, page, section, table, trusted } from "./page.js";

export interface OodReportInput {
  readonly record: OodRecord;
  readonly scores: OodScores["scores"];
  /** Of this package. */
  readonly version: string;
}

const NAMES: Record<ScoreName, { label: string; axis: string; meaning: string }> = {
  trajectory: {
    label: "trajectory (attractors)",
    axis: "mean distance of the path to the nearest attractor",
    meaning:
      "From the code of an input f is applied over and over; the score is the mean distance of that path to the nearest attractor.",
  },
  knn: {
    label: "KNN",
    axis: "distance to the nearest training latents",
    meaning: "How far the code lies from the codes of the training inputs that are nearest to it.",
  },
  mahalanobis: {
    label: "Mahalanobis",
    axis: "Mahalanobis distance to the training latents",
    meaning:
      "How far the code lies from the mean of the training codes, counted in standard deviations of their spread in that direction.",
  },
  reconstruction: {
    label: "reconstruction error",
    axis: "mean squared error of the reconstruction",
    meaning: "Mean squared difference per element between the input and what the autoencoder makes of it.",
  },
};

/** Values further out than this quantile of all would leave the rest of a histogram in its first bin. */
const OUTER = 0.995;

/** The report as one HTML document: no script, no request, charts inside. */
export async function oodReport({ record, scores, version }: OodReportInput): Promise<string> {
  const { model, detection, notes } = record;
  const title = `Out-of-distribution detection with ${model.name}`;
  const sections: Html[] = [];
  for (const [i, set] of Object.keys(detection).entries()) {
    sections.push(section(`set-${i + 1}`, `ID against ${set}`, await setBody(record, scores, set)));
  }
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
<p class="lead">Inputs like those the model was trained on should stay near its attractors on their way, and others should not. Every score below is lower for inputs that look in-distribution; the question is how well each tells the two kinds apart.</p>
</header>
${notes.map(noticeOf)}
${factsOf(record, version)}
${section("result", "Result", html`${detectionTable(record)}`)}
${sections}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

function factsOf(record: OodRecord, version: string): Html {
  const { model, options, attractors, training, sets, timing } = record;
  // A path that left what is finite has no trajectory score, but every input has one of the others.
  const size = (set: string) => Math.max(...Object.values(sets[set]).map(({ count: scored }) => scored));
  return facts([
    [
      "Model",
      html`${model.name}, <span title="${model.hash}">SHA-256 ${model.hash.slice(0, 12)}…</span>`,
      "line",
    ],
    ["Training inputs", `${options.train} (${count(training)})`, "line"],
    ["ID", `${options.id} (${count(size("id"))})`, "line"],
    ...Object.entries(options.ood).map(
      ([name, spec]) => [`OOD: ${name}`, `${spec} (${count(size(name))})`, "line"] as const,
    ),
    ["Attractors", `${count(attractors)}, ${options.attractors ?? "of the training inputs"}`],
    ["Steps of a path", count(options.steps)],
    ["Device", deviceText(record)],
    [
      "KNN",
      `K = ${count(options.neighbours)}, ${options.knnRule === "kth" ? "distance to the K-th" : "mean distance"}${options.normalise ? ", unit length" : ""}`,
    ],
    [
      "Covariance shrunk by",
      html`<span title="weight of the scaled identity in the covariance of the training latents, by Ledoit and Wolf’s formula">${share(options.shrinkage, 1)}</span>`,
    ],
    ["Time", duration(timing.seconds)],
    ["Version", version],
  ]);
}

/** One row a score; FPR95 and AUROC for every set, as the paper prints them. */
function detectionTable({ detection }: OodRecord): Html {
  const sets = Object.keys(detection);
  const columns = sets.flatMap((set) =>
    [`${set}: FPR95 ↓`, `${set}: AUROC ↑`, `${set}: FPR95, OOD positive ↓`].map((heading) => ({
      heading,
      numeric: true,
    })),
  );
  const rows = SCORES.filter((score) => sets.some((set) => detection[set][score] !== undefined)).map(
    (score) => [
      NAMES[score].label,
      ...sets.flatMap((set) => {
        const found = detection[set][score];
        return found === undefined
          ? ["–", "–", "–"]
          : [percent(found.fpr95), percent(found.auroc), percent(found.fpr95OodPositive)];
      }),
    ],
  );
  return html`${table("Detection rates by score and set", [{ heading: "score" }, ...columns], rows)}<p class="meaning">In per cent. FPR95: OOD inputs accepted at the threshold that accepts 95 % of ID inputs. AUROC: how often an OOD input scores above an ID input, ties half; 50 is chance, and below 50 the score is the wrong way round. OOD positive: ID inputs rejected at the threshold that rejects 95 % of OOD inputs. Equal scores fall on the same side of a threshold.</p>`;
}

function percent(value: number): string {
  return (100 * value).toFixed(2);
}

async function setBody(record: OodRecord, scores: OodScores["scores"], set: string): Promise<Html> {
  const found = SCORES.filter((score) => record.detection[set][score] !== undefined);
  const figures: Html[] = [];
  for (const score of found) figures.push(await distribution(scores, set, score));
  const lines = found.map((score) => ({
    name: NAMES[score].label,
    points: rocCurve(ranked(scores.id[score]), ranked(scores[set][score])),
  }));
  const chart = await renderChart(
    rocChart(lines),
    `ROC curves of ${found.map((score) => `${NAMES[score].label} (AUROC ${percent(record.detection[set][score]?.auroc ?? 0)} %)`).join(", ")}.`,
  );
  figures.push(
    figure({
      title: "ROC",
      body: html`${groupKey(lines.map(({ name }) => name))}${trusted(chart)}`,
      caption:
        "The further a curve bends to the upper left, the better its score; the straight line is chance.",
    }),
  );
  return html`<div class="grid">${figures}</div>`;
}

async function distribution(scores: OodScores["scores"], set: string, score: ScoreName): Promise<Html> {
  const groups = [
    { name: "ID", values: (scores.id[score] ?? new Float64Array(0)).filter(Number.isFinite) },
    { name: set, values: (scores[set][score] ?? new Float64Array(0)).filter(Number.isFinite) },
  ];
  const { label, axis, meaning } = NAMES[score];
  const all = Float64Array.from(groups.flatMap(({ values }) => [...values])).sort();
  const top = all[Math.min(all.length - 1, Math.floor(OUTER * all.length))];
  const beyond = all.filter((value) => value > top).length;
  const chart = await renderChart(
    distributionChart(groups, {
      title: axis,
      ...(top > all[0] ? { domain: [all[0], top] as const } : {}),
    }),
    `Distributions of the ${label} score of ID and ${set}.`,
  );
  return figure({
    title: label,
    body: html`${groupKey(groups.map(({ name }) => name))}${trusted(chart)}`,
    caption: `${meaning} The outlines say which share of each set has which score.${beyond > 0 ? ` The highest ${share(beyond, all.length)} of the scores lie beyond the axis and are drawn in its last bin.` : ""}`,
  });
}

/** As the detection rates take them: what is not finite is above everything. */
function ranked(values: Float64Array | undefined): Float64Array {
  return (values ?? new Float64Array(0)).map((value) => (Number.isFinite(value) ? value : Number.MAX_VALUE));
}
