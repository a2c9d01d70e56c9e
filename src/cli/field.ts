import { type Command, Option } from "commander";
import { checkExtent, type FieldRecord } from "../dynamics/field.js";
import { CRITERIA, RULES } from "../dynamics/options.js";
import { parsePoints } from "../dynamics/points.js";
import { InputError } from "../errors.js";
import { type FieldRunOptions, runField } from "../runs/fieldRun.js";
import { given, number } from "./arguments.js";
import { runMeasure } from "./measureCommand.js";
import {
  addIteratingOptions,
  addOutputOptions,
  type ComputeFlags,
  checkCompute,
  MODEL_HELP,
  type OutputFlags,
} from "./modelOptions.js";
import { count, noteLines, table } from "./table.js";

interface Flags extends ComputeFlags, OutputFlags {
  from: string;
  plane?: string;
  extent?: string;
  resolution?: number;
  tolerance?: number;
  maxIterations?: number;
  criterion?: FieldRunOptions["criterion"];
  rule?: FieldRunOptions["rule"];
  distance?: number;
  randomSeed?: number;
}

const EXAMPLES = `
Examples:
  $ latdyn field models/mnist-conv-k2
      the whole plane of a two-dimensional latent space, as far as N(0, I) and its attractors reach
  $ latdyn field models/mnist-conv-k2 --extent -15,15,-30,10 --resolution 160
  $ latdyn field models/mnist-conv-k16 --from data:train-images.idx3-ubyte.gz:1000
      the plane through the attractors of the three largest basins of those points
  $ latdyn field models/mnist-conv-k16 --plane run#0,3,5
      through three attractors of a finished run, by row (run#data:0,3,5 where the run has several sets)

The plane (--plane, where k > 2; rows count from 0):
  attractors:I,J,K   attractors found from --from        points:I,J,K   its initial points
  RUN#I,J,K          attractors of a run folder          RUN#SET:I,J,K  of one of its sets

What comes out:
  f(z) − z on a grid of the plane, drawn as stream lines whose colour is ‖f(z) − z‖ on a logarithmic scale, over the
  basins: every grid point is iterated to its end. Where k > 2 the displacement is projected to the plane, and the
  share of it that lies in the plane is given. A picture shows places, so attractors are told apart by distance
  (--rule euclidean), unlike in "latdyn attractors".
  The folder holds field.json, field.safetensors, attractors.safetensors, field.svg and report.html.`;

export function fieldCommand(program: Command): void {
  const command = program
    .command("field")
    .summary("the vector field f(z) − z in a plane, with attractors and basins, as a picture")
    .description(
      "Draws the vector field f(z) − z in a plane of latent space, with its attractors and basins.",
    )
    .argument("<model>", MODEL_HELP)
    .option(
      "--from <spec>",
      "points that choose extent and plane: noise:N, data:PATH[:N], latents:FILE[:N]",
      "noise:1000",
    )
    .option(
      "--plane <spec>",
      "three points that span the plane, see below (default: the three largest basins)",
    )
    .option("--extent <l,r,b,t>", "left,right,bottom,top of the picture (default: around --from)")
    .option("--resolution <number>", "grid points along the longer side (default: 80)", number)
    .option(
      "--tolerance <number>",
      "squared step length below which a point has converged (default: 1e-6)",
      number,
    )
    .option(
      "--max-iterations <number>",
      "applications of f before a point is given up (default: 3000)",
      number,
    )
    .addOption(
      new Option("--criterion <name>", "what convergence means (default: residual)").choices(CRITERIA),
    )
    .addOption(
      new Option("--rule <name>", "how endpoints become attractors (default: euclidean)").choices(RULES),
    )
    .option(
      "--distance <number>",
      "distance below which endpoints are one attractor (default: 10·√tolerance, at least a quarter of a cell)",
      number,
    )
    .option("--random-seed <number>", "of noise (default: 0)", number);
  addIteratingOptions(addOutputOptions(command, "field")).addHelpText("after", EXAMPLES).action(run);
}

async function run(model: string, flags: Flags): Promise<void> {
  const { from, extent, randomSeed, json, ...options } = flags;
  checkCompute(options);
  const sources = Object.values(parsePoints([from], given({ randomSeed })));
  await runMeasure({ json, report: options.report }, async (call) => {
    const { field, folder } = await runField(model, {
      ...given(options),
      ...(extent === undefined ? {} : { extent: parseExtent(extent) }),
      from: sources[0],
      ...call,
    });
    return { record: field.record, text: formatField(field.record), folder };
  });
}

function parseExtent(text: string) {
  const numbers = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (numbers.length !== 4 || numbers.some(Number.isNaN)) {
    throw new InputError(`extent is "${text}", expected four numbers: left,right,bottom,top`);
  }
  return checkExtent(numbers);
}

/** The field in a few lines. */
export function formatField({ model, field, summary, notes, timing }: FieldRecord): string {
  const rows = field.attractors
    .slice(0, 20)
    .map(({ x, y, distance, share }, i) => [
      String(i + 1),
      x.toPrecision(4),
      y.toPrecision(4),
      ...(model.latentDimension > 2 ? [distance.toPrecision(2)] : []),
      `${(100 * share).toFixed(1)} %`,
    ]);
  const more = field.attractors.length - rows.length;
  const plane = field.inPlaneShare === null || model.latentDimension === 2;
  return [
    `${model.name}: k = ${model.latentDimension}, grid of ${field.columns}×${field.rows}, x from ${field.extent[0].toPrecision(4)} to ${field.extent[1].toPrecision(4)}, y from ${field.extent[2].toPrecision(4)} to ${field.extent[3].toPrecision(4)}`,
    ...(plane
      ? []
      : [
          `${(100 * (field.inPlaneShare as number)).toFixed(1)} % of the squared displacement lies in the plane`,
        ]),
    "",
    rows.length === 0
      ? "no point of the grid converged, so there is no attractor"
      : table(["attractor", "x", "y", ...(model.latentDimension > 2 ? ["off plane"] : []), "basin"], rows),
    ...(more > 0 ? [`and ${more} more`] : []),
    "",
    `${count(summary.grid.converged)} of ${count(summary.grid.points)} grid points converged`,
    ...noteLines(notes),
    `${timing.seconds.toFixed(2)} s, ${count(timing.mapEvaluations)} applications of f`,
  ].join("\n");
}
