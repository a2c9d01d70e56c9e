import type { Command } from "commander";
import { examineMachine, type MachineDescription } from "../engines/doctor.js";
import { megabytes } from "./table.js";

const HELP = `
Examples:
  $ latdyn doctor
  $ latdyn doctor --json

What comes out:
  Node, the processor and its instruction sets, memory, whether the native engine loads and which oneDNN it uses,
  whether CUDA can be used, and which optional engines load, or why not. Ends with 1 where the native engine cannot
  be loaded.`;

export function doctorCommand(program: Command): void {
  program
    .command("doctor")
    .summary("what this machine can run")
    .description("Shows what this machine can run, and what is missing.")
    .option("--json", "one JSON object on stdout")
    .addHelpText("after", HELP)
    .action(async ({ json = false }: { json?: boolean }) => {
      const machine = await examineMachine();
      process.stdout.write(`${json ? JSON.stringify(machine, null, 2) : formatMachine(machine)}\n`);
      if (!machine.native.usable) process.exitCode = 1;
    });
}

export function formatMachine(machine: MachineDescription): string {
  const { version, node, platform, cpu, memory, native, cuda, engines } = machine;
  const { info } = native;
  const lines: (readonly [string, string])[] = [
    ["latdyn", version],
    ["node", node],
    ["system", platform],
    ["cpu", `${cpu.model}, ${cpu.threads} threads`],
    ["memory", `${megabytes(memory.total)}, ${megabytes(memory.free)} free`],
    ...(info === null
      ? [["native", `not usable: ${native.reason}`] as const]
      : ([
          ["native", `usable: ${info.isa} (${info.isas.join(", ")}), ${megabytes(info.l2Bytes)} of L2 cache`],
          ["addon", native.path],
          ["oneDNN", info.oneDnn],
        ] as const)),
    ...(cuda.usable
      ? cuda.devices.map(
          ({ name, memory, capability, driver }, index) =>
            [
              "cuda",
              `${index}: ${name}, ${megabytes(memory)}, compute capability ${capability}, driver for CUDA ${driver}`,
            ] as const,
        )
      : [["cuda", `${cuda.built ? "built, " : ""}not usable: ${cuda.reason}`] as const]),
    ...(cuda.given ? [["cuda", `as LATDYN_CUDA_LIBRARY says: ${cuda.library}`] as const] : []),
    ...engines.map(({ name, usable, version, devices, reason }) => {
      return [
        name,
        usable ? `usable: ${version} on ${devices.join(", ")}` : `not usable: ${reason}`,
      ] as const;
    }),
  ];
  return lines.map(([name, text]) => `${name.padEnd(11)}  ${text}`).join("\n");
}
