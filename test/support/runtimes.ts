/** The optional packages that tests of other engines need; where one is missing those tests are skipped by name. */
import { findOnnxRuntime } from "../../src/engines/onnxruntime/package.js";
import { InputError } from "../../src/errors.js";

export const hasOnnxRuntime = (() => {
  try {
    findOnnxRuntime();
    return true;
  } catch (error) {
    if (error instanceof InputError) return false;
    throw error;
  }
})();
