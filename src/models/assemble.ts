/** From graphs to an Autoencoder: the map composed and optimised, and the handle that frees what hangs on it. */
import { InputError, LatdynError } from "../errors.js";
import { compose, inputShape, outputShape } from "../graph/compose.js";
import { elements, formatShape, type Graph, type Shape } from "../graph/graph.js";
import { optimize } from "../graph/optimize.js";
import { sameShape } from "../graph/shapes.js";
import type { Autoencoder, Encoder } from "./autoencoder.js";
import type { ModelSource } from "./source.js";

type Origin = Pick<Autoencoder, "name" | "path" | "format" | "hash" | "files" | "preprocessor" | "notes"> & {
  /** Default: the graphs are all there is. */
  readonly source?: ModelSource;
  /** Default: none. Disposed of with the model. */
  readonly features?: Encoder | null;
};

/** A model whose map is a graph. */
export interface SquareMap extends Autoencoder {
  readonly map: Graph;
}

/** A model whose parts are graphs. */
export interface GraphAutoencoder extends SquareMap {
  readonly encoder: Graph;
  readonly decoder: Graph;
}

const ONLY_GRAPHS: ModelSource = { kind: "graphs" };

/** An autoencoder of two graphs. Throws InputError where they do not meet. */
export function autoencoderOf(graphs: { encoder: Graph; decoder: Graph }, origin: Origin): GraphAutoencoder {
  const { graph, notes } = compose(graphs.decoder, graphs.encoder);
  return withDisposal({
    source: ONLY_GRAPHS,
    features: null,
    ...origin,
    notes: [...origin.notes, ...notes],
    unsupported: null,
    latentShape: inputShape(graphs.decoder),
    latentDimension: elements(inputShape(graphs.decoder)),
    inputShape: inputShape(graphs.encoder),
    encoder: optimize(graphs.encoder),
    decoder: optimize(graphs.decoder),
    map: optimize(graph),
  });
}

/** A bare square map. Throws InputError where its output is not shaped as its input. */
export function squareMapOf(map: Graph, origin: Origin): SquareMap {
  const [from, to] = [inputShape(map), outputShape(map)];
  if (!sameShape(from, to)) {
    throw new InputError(
      `${origin.path}: takes ${formatShape(from)} and gives ${formatShape(to)}, expected a square map, whose ` +
        `output has the shape of its input` +
        (elements(to) < elements(from)
          ? '; for an encoder without a decoder there is "latdyn surrogate"'
          : ""),
    );
  }
  return withDisposal({
    source: ONLY_GRAPHS,
    features: null,
    ...origin,
    unsupported: null,
    latentShape: from,
    latentDimension: elements(from),
    inputShape: null,
    encoder: null,
    decoder: null,
    map: optimize(map),
  });
}

/** An encoder alone; `unsupported` is what whoever asks for its map is told. */
export function encoderOf(graph: Graph, origin: Origin): Encoder {
  const features = outputShape(graph);
  return withDisposal({
    source: ONLY_GRAPHS,
    ...origin,
    features: null,
    unsupported: new InputError(
      `${origin.path}: is an encoder without a decoder, so there is no map to iterate; "latdyn surrogate" trains a ` +
        "small autoencoder on its features",
    ),
    latentShape: features,
    latentDimension: elements(features),
    inputShape: inputShape(graph),
    encoder: optimize(graph),
    decoder: null,
    map: null,
  });
}

/** A model without graphs, which only the engines of its source can run; `unsupported` is what the native one says. */
export function foreignOf(
  { latentShape, inputShape }: { latentShape: Shape; inputShape: Shape | null },
  unsupported: InputError,
  origin: Origin & { readonly source: ModelSource },
): Autoencoder {
  return withDisposal({
    features: null,
    ...origin,
    latentShape,
    latentDimension: elements(latentShape),
    inputShape,
    encoder: null,
    decoder: null,
    map: null,
    unsupported,
  });
}

type Plain = Omit<Autoencoder, "onDispose" | typeof Symbol.dispose | typeof Symbol.asyncDispose>;

/** Releases run once, the latest first; all of them run, and what they throw is thrown at the end. */
function withDisposal<Model extends Plain>(model: Model): Model & Autoencoder {
  const { features } = model;
  const releases: (() => void | Promise<void>)[] =
    features === null ? [] : [async () => features[Symbol.asyncDispose]()];
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
