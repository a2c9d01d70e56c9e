import { type Command, Option } from "commander";
import { KNN_RULES, type KnnRule, knnScore } from "../analysis/knn.js";
import { spreadOf } from "../analysis/statistics.js";
import { given, number } from "./arguments.js";
import {
  addKernelOptions,
  type KernelFlags,
  MATRIX_HELP,
  readPair,
  runKernelCommand,
} from "./kernelCommand.js";

interface Flags extends KernelFlags {
  k?: number;
  rule?: KnnRule;
  normalise?: boolean;
}

const HELP = `
Examples:
  $ latdyn knn train.npy test.npy --k 50 --out scores.safetensors
  $ latdyn knn codes.safetensors#train codes.safetensors#test --k 5 --rule kth --normalise

${MATRIX_HELP}

What comes out:
  { reference, queries, k, wholeReference, score: { count, mean, std, min, median, max } } on stdout. The score of a
  query is the mean of its Euclidean distances to the K nearest reference rows, or with --rule kth the distance to the
  K-th. Where there are fewer than K reference rows all of them are used, k says how many, and stderr says so.
  The file holds score (f32 [queries]).`;

export function knnCommand(program: Command): void {
  const command = program
    .command("knn")
    .summary("distance of each query to its K nearest reference rows")
    .description("Scores every query by its distance to the K reference rows nearest to it, exactly.")
    .argument("<reference>", "the matrix of known rows")
    .argument("<queries>", "the matrix of rows to score")
    .option("--k <number>", "how many nearest rows (default: 2000)", number)
    .addOption(
      new Option("--rule <name>", "mean of the K distances, or the K-th (default: mean)").choices(KNN_RULES),
    )
    .option("--normalise", "scale every row to unit length first");
  addKernelOptions(command, "the scores").addHelpText("after", HELP).action(run);
}

function run(
  referenceFile: string,
  queryFile: string,
  { k, rule, normalise, ...flags }: Flags,
): Promise<void> {
  return runKernelCommand("knn", flags, async (call) => {
    const [reference, queries] = await readPair(referenceFile, queryFile);
    const options = { ...given({ neighbours: k, rule, normalise }), ...call };
    const { score, neighbours, wholeReference } = await knnScore(reference, queries, options);
    return {
      result: {
        reference: reference.rows,
        queries: queries.rows,
        k: neighbours,
        wholeReference,
        score: spreadOf(score),
      },
      tensors: { score: { shape: [score.length], data: Float32Array.from(score) } },
      ...(wholeReference
        ? {
            note: `${referenceFile} holds ${reference.rows} ${reference.rows === 1 ? "row" : "rows"}, so K is ${neighbours}: the whole of it`,
          }
        : {}),
    };
  });
}
