/** A process of its own that loads one backend of tfjs, computes with it, and says what came of it (examine.ts). */
import { LatdynError } from "../../errors.js";
import { backendsOf, loadTfjs } from "./backends.js";
import type { ProbeResult } from "./examine.js";
import { oneLine } from "./maps.js";

async function result(backend: string): Promise<ProbeResult> {
  try {
    const { tf, device } = await loadTfjs(backendsOf(backend)[0]!);
    const sum = tf.tidy(() => tf.concat([tf.tensor(new Float32Array(2), [2], "float32")], 0));
    await sum.data();
    return { device };
  } catch (error) {
    return {
      reason: error instanceof LatdynError ? error.message : `tfjs:${backend} fails (${oneLine(error)})`,
    };
  }
}

const found = await result(process.argv[2] ?? "");
process.stdout.write(`\n${JSON.stringify(found)}\n`);
