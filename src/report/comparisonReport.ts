/** The page on two runs compared: where their attractors lie, and how they divide the same points. */
import type { BasinAgreement } from "../analysis/basins.js";
import type { ComparisonRecord, SetComparison, SimilarityValues } from "../analysis/comparison.js";
import type { Neighbours } from "../analysis/nearest.js";
import type { BestMatches } from "../analysis/similarity.js";
import { renderChart } from "./charts.js";
import { count, countOf, duration, quantity } from "./format.js";
import { distributionChart, groupKey } from "./measureCharts.js";
import { EMPTY, facts, figure, type Html, html, noticeOf, page, section, table, trusted } from "./page.js";
import { colour } from "./palette.js";

/**
 * The report as one HTML document: no script, no request, charts inside. `matches` by the name of the pair; `version` is
 * this package's.
 */
export async function comparisonReport(
  { sets, timing }: ComparisonRecord,
  matches: ReadonlyMap<string, BestMatches>,
  version: string,
): Promise<string> {
  const title = "Two runs compared";
  const sections: Html[] = [];
  for (const [name, pair] of Object.entries(sets)) {
    const best = matches.get(name);
    const chart = best === undefined ? EMPTY : await matchFigures(best);
    sections.push(section(`pair-${sections.length + 1}`, name, pairBody(pair, chart)));
  }
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
${sections}`;
  return page({ title, generator: `latent-dynamics ${version}`, body });
}

function pairBody({ first, second, similarity, basins, notes }: SetComparison, chart: Html): Html {
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
${chart}
${basins === null ? EMPTY : basinTable(basins)}`;
}

interface MatchFigure {
  readonly title: string;
  readonly axis: string;
  readonly domain: readonly [number, number];
  readonly caption: string;
}

/** How alike the best matches are, from either side. */
async function matchFigures({ cosine, euclidean }: BestMatches): Promise<Html> {
  const least = Math.min(...cosine.aValue, ...cosine.bValue);
  const most = Math.max(...euclidean.aValue, ...euclidean.bValue);
  // Sets that are alike up to rounding should look so.
  return html`<div class="grid">
${await matchFigure(cosine, {
  title: "Cosine of the best match",
  axis: "cosine to the most similar attractor",
  domain: [Math.min(0.9, least), 1],
  caption:
    "For every attractor of one run, the cosine of the most similar one of the other. What lies far left has no counterpart there.",
})}
${await matchFigure(euclidean, {
  title: "Distance to the best match",
  axis: "distance to the nearest attractor",
  domain: [0, most > 0 ? most : 1],
  caption: "The same by distance. What lies far right has no counterpart.",
})}
</div>`;
}

async function matchFigure(
  { aValue, bValue }: Neighbours,
  { title, axis, domain, caption }: MatchFigure,
): Promise<Html> {
  const groups = [
    { name: "A to B", values: aValue },
    { name: "B to A", values: bValue },
  ];
  const words = `${title}: ${countOf(aValue.length, "attractor")} of A and ${count(bValue.length)} of B.`;
  const chart = await renderChart(distributionChart(groups, { title: axis, domain }), words);
  return figure({
    title,
    body: html`${groupKey(groups.map(({ name }) => name))}${trusted(chart)}`,
    caption,
  });
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
