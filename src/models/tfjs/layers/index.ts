import type { LayerConverter } from "../layer.js";
import { convolutionLayers } from "./convolution.js";
import { denseLayers } from "./dense.js";
import { elementwiseLayers } from "./elementwise.js";
import { mergeLayers } from "./merge.js";
import { poolingLayers } from "./pooling.js";
import { shapeLayers } from "./shapes.js";

/** By the layer's class. */
export const layers: ReadonlyMap<string, LayerConverter> = new Map(
  [convolutionLayers, denseLayers, elementwiseLayers, mergeLayers, poolingLayers, shapeLayers].flatMap(
    (group) => Object.entries(group),
  ),
);
