import type { Command } from "commander";
import { examineMachine, type MachineDescription } from "../engines/doctor.js";
import { megabytes } from "./table.js";

const HELP = `
Examples:
  $ latdyn doctor
  $ latdyn doctor --json

What comes out:
  Node, the processor and its instruction sets, memory, whether the native engine loads and which oneDNN it uses,
  and whether CUDA can be used. Ends with 1 where the native engine cannot be loaded.`;

export function doctorCommand(program: Command): void {
  program
    .command("doctor")
    .summary("what this machine can run")
    .description("Shows what this machine can run, and what is missing.")
    .option("--json", "one JSON object on stdout")
    .addHelpText("after", HELP)
    .action(({ json = false }: { json?: boolean }) => {
      const machine = examineMachine();
      process.stdout.write(`${json ? JSON.stringify(machine, null, 2) : formatMachine(machine)}\n`);
      if (!machine.native.usable) process.exitCode = 1;
    });
}

export function formatMachine({
  version,
  node,
  platform,
  cpu,
  memory,
  native,
  cuda,
}: MachineDescription): string {
  const { info } = native;
  return [
    `latdyn   ${version}`,
    `node     ${node}`,
    `system   ${platform}`,
    `cpu      ${cpu.model}, ${cpu.threads} threads`,
    `memory   ${megabytes(memory.total)}, ${megabytes(memory.free)} free`,
    ...(info === null
      ? [`native   not usable: ${native.reason}`]
      : [
          `native   usable: ${info.isa} (${info.isas.join(", ")}), ${megabytes(info.l2Bytes)} of L2 cache`,
          `addon    ${native.path}`,
          `oneDNN   ${info.oneDnn}`,
        ]),
    `cuda     ${cuda.usable ? cuda.devices.join(", ") : `not usable: ${cuda.reason}`}`,
  ].join("\n");
}
