// Every function here runs in the page, so that it can use nothing but its arguments and the document.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** What a reader sees of a page, as its browser has laid it out. */

/** The page's width, and what reaches over the right edge of the window outside of what scrolls by itself. */
export function overflow(): { page: number; over: string[] } {
  const over = [...document.querySelectorAll("main *")].filter(
    (element) =>
      !element.closest(".scroll, pre, svg") && element.getBoundingClientRect().right > innerWidth + 1,
  );
  return {
    page: document.documentElement.scrollWidth,
    over: over.map((element) => element.outerHTML.slice(0, 90)),
  };
}

/** Texts of charts that leave the page or lie on one another. */
export function clashes(): string[] {
  return [...document.querySelectorAll("figure > svg")].flatMap((chart) => {
    const boxes = [...chart.querySelectorAll("text")].map((text) => ({
      text: text.textContent,
      box: text.getBoundingClientRect(),
    }));
    const found: string[] = [];
    for (const [i, one] of boxes.entries()) {
      if (one.box.left < 0 || one.box.right > innerWidth) found.push(`${one.text} leaves the page`);
      for (const other of boxes.slice(i + 1)) {
        const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
        const down = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
        // A text and its rim lie on each other on purpose.
        if (across > 2 && down > 4 && one.text !== other.text) found.push(`${one.text} × ${other.text}`);
      }
    }
    return found;
  });
}

/** The ground of the page, and every text with its colour and the colour behind it. */
export function texts(): {
  page: string;
  texts: { text: string | undefined; ink: string; ground: string }[];
} {
  const ground = (element: Element | null): string => {
    if (element === null) return "rgb(255, 255, 255)";
    const own = getComputedStyle(element).backgroundColor;
    return own === "rgba(0, 0, 0, 0)" ? ground(element.parentElement) : own;
  };
  const found = [...document.querySelectorAll("body *:not(style)")].filter((element) =>
    [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent?.trim()),
  );
  return {
    page: getComputedStyle(document.body).backgroundColor,
    texts: found.map((element) => {
      const style = getComputedStyle(element);
      const inChart = element.closest("svg") !== null;
      const onStatus = element.closest(".labels_marks") !== null;
      const segment = element.closest("svg")?.querySelector(".segments_marks path");
      const dot = element.previousElementSibling;
      const onDot = inChart && dot?.tagName === "circle";
      return {
        text: element.textContent?.trim().slice(0, 40),
        ink: inChart ? style.fill : style.color,
        ground:
          onStatus && segment
            ? getComputedStyle(segment).fill
            : onDot && getComputedStyle(dot).fill !== "none"
              ? getComputedStyle(dot).fill
              : ground(element),
      };
    }),
  };
}

/**
 * Of every chart: its size, which part of its width its data takes up, and whether all of it lies within the frame.
 * Axes and grid are no data.
 */
export function charts(): { width: number; height: number; span: number; inside: boolean }[] {
  return [...document.querySelectorAll("figure > svg")].map((chart) => {
    const frame = chart.getBoundingClientRect();
    const boxes = [
      ...chart.querySelectorAll(".role-mark path, .role-mark line, g[fill=none] path, circle"),
    ].map((mark) => mark.getBoundingClientRect());
    const left = Math.min(...boxes.map((box) => box.left));
    const right = Math.max(...boxes.map((box) => box.right));
    return {
      width: frame.width,
      height: frame.height,
      span: (right - left) / frame.width,
      inside: boxes.every(
        (box) =>
          box.left >= frame.left - 2 &&
          box.right <= frame.right + 2 &&
          box.top >= frame.top - 2 &&
          box.bottom <= frame.bottom + 2,
      ),
    };
  });
}

/** Of every picture: whether it was decoded and has words, and how far its darkest and its brightest pixel lie apart. */
export async function pictures(): Promise<{ width: number; words: string; range: number }[]> {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return Promise.all(
    [...document.images].map(async (image) => {
      await image.decode();
      const { naturalWidth: width, naturalHeight: height, alt } = image;
      if (context === null) throw new Error("the browser has no canvas");
      canvas.width = width;
      canvas.height = height;
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, width, height);
      let [least, most] = [255, 0];
      for (let i = 0; i < data.length; i += 4) {
        least = Math.min(least, data[i]!);
        most = Math.max(most, data[i]!);
      }
      return { width, words: alt, range: most - least };
    }),
  );
}
