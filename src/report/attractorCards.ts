/** Decoded attractors as pictures, each beside another picture that belongs to it. */
import type { Shape } from "../graph/graph.js";
import { type Matrix, row } from "../matrix.js";
import { countOf, quantity } from "./format.js";
import { type DisplayRange, displayRange, imageShape, LARGEST_SIDE, pngDataUri } from "./images.js";
import { EMPTY, type Html, html } from "./page.js";

export interface CardPictures {
  /** [C]: which attractors are shown. */
  readonly order: ArrayLike<number>;
  /** [C, elements of the image]: they, decoded. */
  readonly decoded: Matrix;
  /** [C, elements of the image]: what stands on the right of each. */
  readonly nearest: Matrix;
}

/** Cards with two pictures and what `words` says of the i-th; null where the shape is no image. */
export function pairedCards(
  shape: Shape | null,
  { order, decoded, nearest }: CardPictures,
  words: (attractor: number, i: number) => Html,
): { body: Html; caption: string } | null {
  const image = imageShape(shape);
  if (image === null || order.length === 0) return null;
  const [, height, width] = image;
  const range = displayRange(decoded, nearest);
  const picture = (pixels: Float32Array, alternative: string) =>
    html`<img src="${pngDataUri(pixels, image, range)}" width="${width}" height="${height}" alt="${alternative}">`;
  const cards = Array.from(
    order,
    (attractor, i) =>
      html`<li><div class="pictures">${picture(row(decoded, i), `Attractor ${attractor}, decoded`)}${picture(row(nearest, i), `Nearest training input of attractor ${attractor}`)}</div>${words(attractor, i)}</li>
`,
  );
  const smaller =
    Math.max(height, width) > LARGEST_SIDE
      ? ` Images are averaged down to at most ${LARGEST_SIDE} pixels.`
      : "";
  return {
    body: html`<ol class="cards paired" style="--ratio:${width}/${height}">
${cards.length > 0 ? cards : EMPTY}</ol>`,
    caption: `${countOf(order.length, "attractor")}, largest basin first. ${rangeText(range)}${smaller}`,
  };
}

function rangeText({ low, high, rule }: DisplayRange): string {
  return rule === "unit"
    ? "Values from 0 to 1 are drawn from black to full brightness, others clipped."
    : `Values leave [0, 1], so ${quantity(low)} is drawn black and ${quantity(high)} at full brightness (0.5 and 99.5 percentiles of what is shown).`;
}
