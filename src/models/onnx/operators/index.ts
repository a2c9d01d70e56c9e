/** Every operator that is imported, by its ONNX name. */
import type { Operator } from "../node.js";
import { attentionOperators } from "./attention.js";
import { constantOperators } from "./constantsOnly.js";
import { convolutionOperators } from "./convolution.js";
import { einsumOperators } from "./einsum.js";
import { elementwiseOperators } from "./elementwise.js";
import { layoutOperators } from "./layout.js";
import { logicOperators } from "./logic.js";
import { normalizationOperators } from "./normalization.js";
import { pieceOperators } from "./pieces.js";
import { poolingOperators } from "./pooling.js";
import { productOperators } from "./products.js";
import { reductionOperators } from "./reductions.js";
import { resizeOperators } from "./resize.js";
import { sparseOperators } from "./sparse.js";
import { valueOperators } from "./values.js";

export const operators: ReadonlyMap<string, Operator> = new Map(
  Object.entries({
    ...attentionOperators,
    ...constantOperators,
    ...convolutionOperators,
    ...einsumOperators,
    ...elementwiseOperators,
    ...layoutOperators,
    ...logicOperators,
    ...normalizationOperators,
    ...pieceOperators,
    ...poolingOperators,
    ...productOperators,
    ...reductionOperators,
    ...resizeOperators,
    ...sparseOperators,
    ...valueOperators,
  }),
);
