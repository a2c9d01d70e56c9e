/** The page on two runs compared: where their attractors lie, and how they divide the same points. */
import type { BasinAgreement } from "../analysis/basins.js";
import type { ComparisonRecord, SetComparison, SimilarityValues } from "../analysis/comparison.js";
import { count, countOf, duration, quantity } from "./format.js";
import { EMPTY, facts, type Html, html, noticeOf, page, section, table } from "./page.js";
import { colour } from "./palette.js";

/** The report as one HTML document: no script, no request. `version` is this package's. */
export function comparisonReport({ sets, timing }: ComparisonRecord, version: string): string {
  const title = "Two runs compared";
  const body = html`<header>
<p class="eyebrow">latent-dynamics report</p>
<h1>${title}</h1>
<p class="lead">For every attractor of one run the most similar one of the other; and, where both runs started from the same points, whether they divided them into the same basins.</p>
</header>
${facts([
  ["Pairs of sets", count(Object.keys(sets).length)],
  ["Time", duration(timing.seconds)],
  ["Version", version],
])}
${Object.entries(sets).map(([name, pair], i) => section(`pair-${i + 1}`, name, pairBody(pair)))}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

function pairBody({ first, second, similarity, basins, notes }: SetComparison): Html {
  const line = (letter: string, { run, set, model, latentDimension, points, attractors }: typeof first) => [
    letter,
    `${run}, set ${set}`,
    model,
    count(latentDimension),
    count(points),
    count(attractors),
  ];
  return html`${notes.map(noticeOf)}
${table(
  "The two sets",
  [
    { heading: "" },
    { heading: "run" },
    { heading: "model" },
    { heading: "k", numeric: true },
    { heading: "points", numeric: true },
    { heading: "attractors", numeric: true },
  ],
  [line("A", first), line("B", second)],
)}
${similarity === null ? EMPTY : similarityTable(similarity)}
${basins === null ? EMPTY : basinTable(basins)}`;
}

function similarityTable(found: SimilarityValues): Html {
  return html`<h3>Similarity of the attractors</h3>
${table(
  "Similarity of the attractors",
  [
    { heading: "measure" },
    { heading: "both ways", numeric: true },
    { heading: "A to B", numeric: true },
    { heading: "B to A", numeric: true },
  ],
  [
    ["cosine", ...[found.cosine, found.cosineAToB, found.cosineBToA].map((value) => value.toFixed(4))],
    ["Euclidean distance", ...[found.euclidean, found.euclideanAToB, found.euclideanBToA].map(quantity)],
  ],
)}<p class="meaning">The mean over one set of the best match in the other: 1 (or a distance of 0) where every attractor has its equal. A to B high and B to A low means that B has attractors that A has not.</p>`;
}

function basinTable({ points, compared, basins, adjustedRand, jaccard, jaccardNull }: BasinAgreement): Html {
  if (adjustedRand === null || jaccard === null || jaccardNull === null) {
    return html`<p>No point reached an attractor in both runs, so there are no basins to compare.</p>`;
  }
  return html`<h3>Agreement of the basins</h3>
<div class="grid">
<figure class="column">${bar("adjusted Rand index", adjustedRand, 0)}${bar("Jaccard of matched basins", jaccard, jaccardNull.mean)}
<figcaption>From nothing in common to the same basins. The dark mark is the level of chance: 0 for the adjusted Rand index, ${jaccardNull.mean.toFixed(3)} ± ${jaccardNull.std.toFixed(3)} for the overlap when the points of one run are shuffled among basins of the same sizes (${count(jaccardNull.permutations)} times).</figcaption></figure>
</div>
<p class="meaning">${count(compared)} of ${countOf(points, "point")} reached an attractor in both runs, in ${countOf(basins[0], "basin")} of A and ${count(basins[1])} of B. Basins are matched one to one, the largest overlap |A∩B| / |A∪B| first; those without a partner count 0.</p>`;
}

/** A value of at most 1 as a bar, with a mark at the level of chance. */
function bar(name: string, value: number, chance: number): Html {
  const percent = (part: number) => `${(100 * Math.max(0, Math.min(1, part))).toFixed(1)}%`;
  return html`<p style="margin:0 0 .25rem">${name}: <b>${value.toFixed(3)}</b></p>
<div style="position:relative;height:14px;border-radius:3px;background:${colour("line")};margin:0 0 1rem"><span style="display:block;height:100%;border-radius:3px;width:${percent(value)};background:${colour("converged")}"></span><span style="position:absolute;top:-3px;height:20px;width:2px;left:${percent(chance)};background:${colour("ink")}"></span></div>`;
}
