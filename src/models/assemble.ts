/** From graphs to an Autoencoder: the map composed and optimised, and the handle that frees what hangs on it. */
import { InputError, LatdynError } from "../errors.js";
import { compose, inputShape, outputShape } from "../graph/compose.js";
import { elements, formatShape, type Graph } from "../graph/graph.js";
import { optimize } from "../graph/optimize.js";
import { sameShape } from "../graph/shapes.js";
import type { Autoencoder } from "./autoencoder.js";

type Origin = Pick<Autoencoder, "name" | "path" | "format" | "hash" | "files" | "preprocessor" | "notes">;

/** An autoencoder of two graphs. Throws InputError where they do not meet. */
export function autoencoderOf(graphs: { encoder: Graph; decoder: Graph }, origin: Origin): Autoencoder {
  const { graph, notes } = compose(graphs.decoder, graphs.encoder);
  return withDisposal({
    ...origin,
    notes: [...origin.notes, ...notes],
    latentShape: inputShape(graphs.decoder),
    latentDimension: elements(inputShape(graphs.decoder)),
    inputShape: inputShape(graphs.encoder),
    encoder: optimize(graphs.encoder),
    decoder: optimize(graphs.decoder),
    map: optimize(graph),
  });
}

/** A bare square map. Throws InputError where its output is not shaped as its input. */
export function squareMapOf(map: Graph, origin: Origin): Autoencoder {
  const [from, to] = [inputShape(map), outputShape(map)];
  if (!sameShape(from, to)) {
    throw new InputError(
      `${origin.path}: takes ${formatShape(from)} and gives ${formatShape(to)}, expected a square map, whose ` +
        `output has the shape of its input`,
    );
  }
  return withDisposal({
    ...origin,
    latentShape: from,
    latentDimension: elements(from),
    inputShape: null,
    encoder: null,
    decoder: null,
    map: optimize(map),
  });
}

type Plain = Omit<Autoencoder, "onDispose" | typeof Symbol.dispose | typeof Symbol.asyncDispose>;

/** Releases run once, the latest first; all of them run, and what they throw is thrown at the end. */
function withDisposal(model: Plain): Autoencoder {
  const releases: (() => void | Promise<void>)[] = [];
  let disposed = false;
  const throwAll = (errors: readonly unknown[]) => {
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, `${model.name}: several releases failed`);
  };
  return {
    ...model,
    onDispose(release) {
      if (disposed) throw new LatdynError(`${model.name}: the model has been disposed of`);
      releases.push(release);
    },
    [Symbol.dispose]() {
      disposed = true;
      const errors: unknown[] = [];
      for (let release = releases.pop(); release !== undefined; release = releases.pop()) {
        try {
          // A promise cannot be waited for here; if it is rejected, the process hears of it.
          void release();
        } catch (error) {
          errors.push(error);
        }
      }
      throwAll(errors);
    },
    async [Symbol.asyncDispose]() {
      disposed = true;
      const errors: unknown[] = [];
      for (let release = releases.pop(); release !== undefined; release = releases.pop()) {
        try {
          await release();
        } catch (error) {
          errors.push(error);
        }
      }
      throwAll(errors);
    },
  };
}
