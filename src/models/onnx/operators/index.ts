/** Every operator that is imported, by its ONNX name. */
import type { Operator } from "../node.js";
import { convolutionOperators } from "./convolution.js";
import { elementwiseOperators } from "./elementwise.js";
import { layoutOperators } from "./layout.js";
import { normalizationOperators } from "./normalization.js";
import { poolingOperators } from "./pooling.js";
import { productOperators } from "./products.js";
import { resizeOperators } from "./resize.js";
import { valueOperators } from "./values.js";

export const operators: ReadonlyMap<string, Operator> = new Map(
  Object.entries({
    ...convolutionOperators,
    ...elementwiseOperators,
    ...layoutOperators,
    ...normalizationOperators,
    ...poolingOperators,
    ...productOperators,
    ...resizeOperators,
    ...valueOperators,
  }),
);
