/** A suite of named cases: its options, its temporary folder, its table and its record. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { InputError } from "../dist/errors.js";
import { hasModules } from "./peer.mjs";
import { describeMachine, positive, root } from "./setting.mjs";

/**
 * Measures the cases that --case names (default: all), one after the other, prints what `report(records)` makes of them
 * and writes everything to --json FILE (default: bench/results/local-NAME.json).
 *
 * `measure(case, { threads, repeats, peers, folder })` gives a case's record. `sizes` are numbers of a case that an
 * option of the same name sets. `peer` is what Python has to import for the peer to run, and Debian's package of it.
 */
export async function runCases(args, { name, cases, sizes = ["rows"], repeats = 3, measure, report, peer }) {
  const { values } = parseArgs({
    args,
    options: {
      case: { type: "string", default: "all" },
      threads: { type: "string" },
      repeats: { type: "string" },
      "no-peers": { type: "boolean", default: false },
      json: { type: "string" },
      ...Object.fromEntries(sizes.map((size) => [size, { type: "string" }])),
    },
  });
  if (values.case !== "all" && !Object.hasOwn(cases, values.case)) {
    throw new InputError(`--case is ${values.case}, expected all or one of ${Object.keys(cases).join(", ")}`);
  }
  const names = values.case === "all" ? Object.keys(cases) : [values.case];
  const threads = positive("threads", values.threads, availableParallelism());
  const setting = {
    threads,
    repeats: positive("repeats", values.repeats, repeats),
    peers: !values["no-peers"] && hasModules(...peer),
    folder: mkdtempSync(join(tmpdir(), "latdyn-bench-")),
  };
  try {
    const record = { ...describeMachine(), threads, cases: {} };
    console.log(`${record.machine.cpu}, ${threads} threads, ${record.machine.isa}; ${record.date}`);
    for (const one of names) {
      const asked = sizes.map((size) => [size, positive(size, values[size], cases[one][size])]);
      record.cases[one] = await measure({ ...cases[one], ...Object.fromEntries(asked) }, setting);
    }
    console.log(`\n${report(record.cases)}`);
    writeRecord(values.json ?? join(root, "bench", "results", `local-${name}.json`), record);
  } finally {
    rmSync(setting.folder, { recursive: true, force: true });
  }
}

/** Writes what was measured and says where. */
export function writeRecord(file, record) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(record, null, 2)}\n`);
  console.log(`\nwritten to ${file}`);
}
