import type { LayerConverter } from "../layer.js";
import { plainValue } from "../value.js";

/** kernel [in, out] → [out, in], over the last axis. */
const dense: LayerConverter = (layer) => {
  const value = layer.input();
  const ins = value.shape.at(-1) ?? layer.fail("is called on a batch of numbers, expected vectors");
  const units = layer.config.whole("units") ?? layer.config.fail("units", "a whole number of at least 1");
  const kernel = layer.weight("kernel", [ins, units]);
  const turned = new Float32Array(kernel.length);
  for (let i = 0; i < ins; i++) {
    for (let o = 0; o < units; o++) turned[o * ins + i] = kernel[i * units + o]!;
  }
  const inputs = [value.plain(), layer.constant("kernel", [units, ins], turned)];
  if (layer.config.flag("use_bias") !== false) {
    inputs.push(layer.constant("bias", [units], layer.weight("bias", [units])));
  }
  const id = layer.builder.node({ op: "linear", name: layer.name, inputs });
  return layer.activated(plainValue(layer.builder, id, [...value.shape.slice(0, -1), units]));
};

export const denseLayers: Readonly<Record<string, LayerConverter>> = { Dense: dense };
