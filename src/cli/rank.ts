import type { Command } from "commander";
import { checkRows } from "../analysis/kernel.js";
import { type RankRecord, rank } from "../analysis/rank.js";
import { readMatrix } from "../data/matrixFile.js";
import { countOf } from "../report/format.js";
import { type RankRunOptions, runRank } from "../runs/rankRun.js";
import { isRun } from "../runs/storedModel.js";
import { given, refuseFor } from "./arguments.js";
import { MATRIX_HELP, runKernelCommand } from "./kernelCommand.js";
import { runMeasure } from "./measureCommand.js";
import { addEngineOptions, addOutputOptions, checkCompute, type OutputFlags } from "./modelOptions.js";
import { noteLines, table } from "./table.js";

interface Flags extends OutputFlags {
  centred?: boolean;
  model?: string;
  threads?: number;
  device?: string;
  engine?: string;
}

const HELP = `
Examples:
  $ latdyn rank run
      of the decoded attractors of a finished run (run#data where it has several sets), with a page
  $ latdyn rank images.npy --centred
      of a matrix of your own: { rank90, spectrum } on stdout, and nothing written

${MATRIX_HELP}

What comes out:
  rank90, the number of singular values whose squares sum to at least 90 % of all, and the spectrum itself, descending.
  Of a run, the folder holds rank.json, rank.safetensors and report.html.`;

export function rankCommand(program: Command): void {
  const command = program
    .command("rank")
    .summary("how many directions decoded attractors, or the rows of a matrix, take up")
    .description("Counts the singular values that hold 90 % of the squares of a matrix.")
    .argument("<run or x>", "a finished run (RUN or RUN#SET), or a matrix")
    .option("--centred", "subtract the mean row first")
    .option("--model <path>", "of a run: where its model is now (default: where it was)");
  addEngineOptions(addOutputOptions(command, "rank")).addHelpText("after", HELP).action(run);
}

async function run(source: string, { json, centred, report, ...flags }: Flags): Promise<void> {
  if (await isRun(source)) {
    checkCompute(flags);
    await runMeasure({ json, report }, async (call) => {
      const options: RankRunOptions = { ...given({ ...flags, centred }), report, ...call };
      const { record, folder } = await runRank(source, options);
      return { record, text: formatRank(record), folder };
    });
    return;
  }
  refuseFor(source, {
    "--engine": flags.engine,
    "--device": flags.device,
    "--model": flags.model,
    "--out": flags.out,
    "--overwrite": flags.overwrite,
  });
  await runKernelCommand("rank", given({ threads: flags.threads, json }), async (call) => {
    const rows = await readMatrix(source);
    checkRows(source, rows);
    const { rank90, spectrum } = await rank(rows, { ...given({ centred }), ...call });
    return { result: { rank90, spectrum: Array.from(spectrum) } };
  });
}

/** The record in a few lines. */
export function formatRank({
  model,
  attractors,
  centred,
  rank90,
  spectrum,
  notes,
  timing,
}: RankRecord): string {
  const total = spectrum.reduce((sum, value) => sum + value * value, 0);
  let sum = 0;
  const rows = spectrum.slice(0, 10).map((value, i) => {
    sum += value * value;
    return [i + 1, value.toPrecision(5), total > 0 ? `${((100 * sum) / total).toFixed(2)} %` : "–"];
  });
  return [
    `${model.name}: ${countOf(attractors, "decoded attractor")}${centred ? ", less their mean" : ""}, rank ${rank90}`,
    "",
    table(["rank", "singular value", "squares so far"], rows),
    ...(spectrum.length > rows.length ? [`and ${spectrum.length - rows.length} more`] : []),
    "",
    ...noteLines(notes),
    `${timing.seconds.toFixed(2)} s`,
  ].join("\n");
}
