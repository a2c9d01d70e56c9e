import { type Command, Option } from "commander";
import { deduplicate } from "../analysis/deduplicate.js";
import { readMatrix } from "../data/matrixFile.js";
import { RULES } from "../dynamics/options.js";
import { given, number } from "./arguments.js";
import { addKernelOptions, type KernelFlags, MATRIX_HELP, runKernelCommand } from "./kernelCommand.js";

interface Flags extends KernelFlags {
  threshold?: number;
  rule?: (typeof RULES)[number];
  distance?: number;
}

const HELP = `
Examples:
  $ latdyn dedup endpoints.npy --out same.safetensors
  $ latdyn dedup run/points.safetensors#endpoints --rule euclidean --distance 0.05

${MATRIX_HELP}

What comes out:
  { rows, kept } on stdout. In row order a row joins the representative it is most like, if they are alike enough, and
  otherwise becomes one; "components" joins whatever a chain of rows above the threshold connects. Zero vectors equal
  one another only. The file holds representatives (i32 [kept], rows, ascending) and labels (i32 [rows], indices into
  representatives).`;

export function dedupCommand(program: Command): void {
  const command = program
    .command("dedup")
    .summary("which rows of a matrix are the same, up to a rule")
    .description("Deduplicates the rows of a matrix as endpoints are deduplicated into attractors.")
    .argument("<x>", "the matrix")
    .option("--threshold <number>", "cosine above which rows are the same (default: 0.99)", number)
    .addOption(new Option("--rule <name>", "what the same means (default: greedy)").choices(RULES))
    .option("--distance <number>", "distance below which the Euclidean rule joins (default: 0.01)", number);
  addKernelOptions(command, "representatives and labels").addHelpText("after", HELP).action(run);
}

function run(file: string, { threshold, rule, distance, ...flags }: Flags): Promise<void> {
  return runKernelCommand("dedup", flags, async (call) => {
    const rows = await readMatrix(file);
    const found = await deduplicate(rows, { ...given({ threshold, rule, distance }), ...call });
    const { representatives, labels } = found;
    return {
      result: { rows: rows.rows, kept: representatives.length },
      tensors: {
        representatives: { shape: [representatives.length], data: representatives },
        labels: { shape: [labels.length], data: labels },
      },
    };
  });
}
