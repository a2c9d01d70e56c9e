import type { Command } from "commander";
import { matchingPursuit } from "../analysis/omp.js";
import type { TensorToWrite } from "../data/safetensors.js";
import { numbers } from "./arguments.js";
import {
  addKernelOptions,
  type KernelFlags,
  MATRIX_HELP,
  readPair,
  runKernelCommand,
} from "./kernelCommand.js";

interface Flags extends KernelFlags {
  sparsity: number[];
}

const HELP = `
Examples:
  $ latdyn omp atoms.npy signals.npy --sparsity 1,4,16 --out fit.safetensors
  $ latdyn omp run/points.safetensors#endpoints codes.npy --sparsity 8

${MATRIX_HELP}

What comes out:
  { bySparsity: { "4": { meanSquaredError, earlyStops } } } on stdout, the error per element over all signals. Each
  step takes the atom, scaled to unit length, of the largest |correlation| with what is left of a signal, and fits all
  chosen atoms by least squares; all sparsities come from one pass. The file holds for each sparsity K: K4.support
  (i32 [signals, 4], in order of selection, -1 where a signal stopped early), K4.coefficients (f32, of the atoms as
  given) and K4.residual_norm (f32 [signals]).`;

export function ompCommand(program: Command): void {
  const command = program
    .command("omp")
    .summary("signals as combinations of few atoms of a dictionary")
    .description("Orthogonal matching pursuit: each signal as a combination of few rows of a dictionary.")
    .argument("<dictionary>", "the matrix of atoms")
    .argument("<signals>", "the matrix of signals")
    .requiredOption("--sparsity <list>", "numbers of atoms, separated by commas", numbers);
  addKernelOptions(command, "supports, coefficients and residual norms")
    .addHelpText("after", HELP)
    .action(run);
}

function run(dictionaryFile: string, signalFile: string, { sparsity, ...flags }: Flags): Promise<void> {
  return runKernelCommand("omp", flags, async (call) => {
    const [dictionary, signals] = await readPair(dictionaryFile, signalFile);
    const selections = await matchingPursuit(dictionary, signals, { sparsities: sparsity, ...call });
    const tensors: Record<string, TensorToWrite> = {};
    for (const { sparsity: k, support, coefficients, residualNorm } of selections) {
      tensors[`K${k}.support`] = { shape: [signals.rows, k], data: support };
      tensors[`K${k}.coefficients`] = { shape: [signals.rows, k], data: coefficients };
      tensors[`K${k}.residual_norm`] = { shape: [signals.rows], data: Float32Array.from(residualNorm) };
    }
    const bySparsity = Object.fromEntries(
      selections.map(({ sparsity: k, meanSquaredError, earlyStops }) => [
        k,
        // The mean over no signal is none.
        { meanSquaredError: signals.rows === 0 ? null : meanSquaredError, earlyStops },
      ]),
    );
    return { result: { bySparsity }, tensors };
  });
}
