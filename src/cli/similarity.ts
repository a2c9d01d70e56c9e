import type { Command } from "commander";
import type { ComparisonRecord, SetComparison } from "../analysis/comparison.js";
import { similarity } from "../analysis/similarity.js";
import { InputError } from "../errors.js";
import { countOf } from "../report/format.js";
import { type ComparisonRunOptions, flat, runComparison } from "../runs/comparisonRun.js";
import { isRun } from "../runs/storedModel.js";
import { given, number, refuseFor } from "./arguments.js";
import { DEVICE_HELP, MATRIX_HELP, readPair, runKernelCommand } from "./kernelCommand.js";
import { runMeasure } from "./measureCommand.js";
import { addOutputOptions, type OutputFlags } from "./modelOptions.js";
import { count, noteLines, table } from "./table.js";

interface Flags extends OutputFlags {
  samePoints?: boolean;
  permutations?: number;
  randomSeed?: number;
  threads?: number;
  device?: string;
}

const HELP = `
Examples:
  $ latdyn similarity run-a run-b
      sets of the same name, one by one (run-a#data run-b#noise picks one of each)
  $ latdyn similarity a.npy b.safetensors#attractors
      two matrices of your own: six numbers on stdout, and nothing written

${MATRIX_HELP}

What comes out:
  Cosine and Euclidean similarity of the two sets of attractors: for every one the best match in the other, averaged
  (AToB over the first, BToA over the second, and the mean of the two). Of runs that started from the same points also
  the agreement of their basins: adjusted Rand index, and Jaccard overlap of basins matched one to one, beside its
  level where labels are shuffled. The page draws how alike the best matches are. The folder holds similarity.json, similarity.safetensors and report.html.`;

export function similarityCommand(program: Command): void {
  const command = program
    .command("similarity")
    .summary("how alike the attractors and basins of two runs, or the rows of two matrices, are")
    .description("Compares two sets of attractors, and the basins of two runs over the same points.")
    .argument("<run or a>", "a finished run (RUN or RUN#SET), or a matrix")
    .argument("<run or b>", "another of the same kind")
    .option("--same-points", "of runs: they started from the same points, whatever their records say")
    .option("--permutations <number>", "of runs: shuffles for the level of chance (default: 100)", number)
    .option("--random-seed <number>", "of the shuffles (default: 0)", number)
    .option("--threads <number>", "worker threads (default: all)", number)
    .option("--device <name>", `of matrices: ${DEVICE_HELP}`);
  addOutputOptions(command, "similarity").addHelpText("after", HELP).action(run);
}

async function run(first: string, second: string, { json, report, ...flags }: Flags): Promise<void> {
  const runs = [await isRun(first), await isRun(second)];
  if (runs[0] !== runs[1]) {
    throw new InputError(
      `${runs[0] ? first : second} is a run, ${runs[0] ? second : first} is not: expected two runs or two matrices (a run's attractors are RUN/attractors.safetensors#attractors)`,
    );
  }
  if (runs[0]) {
    if (flags.device !== undefined) {
      throw new InputError(`${first}: is a run, and --device goes with matrices`);
    }
    await runMeasure({ json, report }, async (call) => {
      const options: ComparisonRunOptions = { ...given(flags), report, ...call };
      const { record, folder } = await runComparison(first, second, options);
      return { record, text: formatComparison(record), folder };
    });
    return;
  }
  const { threads, device, out, overwrite, samePoints, permutations, randomSeed } = flags;
  refuseFor(first, {
    "--out": out,
    "--overwrite": overwrite,
    "--same-points": samePoints,
    "--permutations": permutations,
    "--random-seed": randomSeed,
  });
  await runKernelCommand("similarity", given({ threads, device, json }), async (call) => {
    const [a, b] = await readPair(first, second);
    const found = await similarity(a, b, call);
    if (found === null) throw new InputError(`${second}: is empty, expected at least one row`);
    return { result: flat(found) };
  });
}

/** The record as tables. */
export function formatComparison({ sets, timing }: ComparisonRecord): string {
  return [
    ...Object.entries(sets).flatMap(([name, pair]) => [...formatPair(name, pair), ""]),
    `${timing.seconds.toFixed(2)} s`,
  ].join("\n");
}

function formatPair(
  name: string,
  { first, second, similarity: alike, basins, notes }: SetComparison,
): string[] {
  const lines = [
    `${name}: ${countOf(first.attractors, "attractor")} of ${first.run} (A), ${count(second.attractors)} of ${second.run} (B)`,
  ];
  if (alike !== null) {
    const digits = (values: number[]) => values.map((value) => value.toPrecision(5));
    lines.push(
      table(
        ["similarity", "both ways", "A to B", "B to A"],
        [
          ["cosine", ...digits([alike.cosine, alike.cosineAToB, alike.cosineBToA])],
          ["euclidean", ...digits([alike.euclidean, alike.euclideanAToB, alike.euclideanBToA])],
        ],
      ),
    );
  }
  if (basins !== null && basins.jaccardNull !== null) {
    const { compared, points, adjustedRand, jaccard, jaccardNull } = basins;
    lines.push(
      `basins of ${count(compared)} of ${count(points)} points: adjusted Rand ${adjustedRand?.toFixed(4)}, Jaccard ${jaccard?.toFixed(4)} (by chance ${jaccardNull.mean.toFixed(4)} ± ${jaccardNull.std.toFixed(4)})`,
    );
  } else if (basins !== null) {
    lines.push(`basins: none of the ${count(basins.points)} points reached an attractor in both runs`);
  }
  return [...lines, ...noteLines(notes)];
}
