// The functions given to evaluate() run in the page.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The report as a reader meets it: opened from a file in a real browser. */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attractorReport } from "../../src/report/attractorReport.js";
import { contrast } from "./contrast.js";
import { MEASURES, type MeasurePage, makePages } from "./measurePages.js";
import { charts, clashes, overflow, pictures, texts } from "./pageChecks.js";
import { syntheticPictures, syntheticRun, syntheticSet } from "./synthetic.js";

const executablePath = process.env.LATDYN_CHROMIUM ?? "/usr/bin/chromium";
const missing = !existsSync(executablePath);
const SHAPE = [3, 24, 20];
const LONG_NAME = "a_model_whose_name_has_no_place_to_break_".repeat(4);

/** One page with everything on it: many attractors, none, no points, RGB images with inputs, latents, a long name. */
function page(): Promise<string> {
  const sets = [
    syntheticSet({
      name: "data",
      basins: Array.from({ length: 70 }, (_, i) => Math.ceil(400 / (i + 1))),
      others: { maxIterations: 9, cycle: 30, diverged: 60, nonFinite: 4, unfinished: 100 },
      iterations: (i) => 5 + Math.round(900 * ((i * 0.618) % 1) ** 5),
    }),
    syntheticSet({ name: "noise", basins: [300], iterations: () => 4 }),
    syntheticSet({ name: "latents", basins: [40, 30, 2] }),
    syntheticSet({ name: "<nowhere>", others: { maxIterations: 50 } }),
    syntheticSet({ name: "nothing" }),
  ];
  const run = syntheticRun(sets, {
    modelName: LONG_NAME,
    interrupted: true,
    similarity: {
      "data, noise": { cosine: 0.4, euclidean: 2.5 },
      "data, <nowhere>": { cosine: null, euclidean: null },
    },
  });
  const pictures = {
    data: syntheticPictures(sets[0], SHAPE, { low: -1, inputs: true }),
    noise: syntheticPictures(sets[1], SHAPE),
  };
  return attractorReport({ run, imageShape: SHAPE, pictures, version: "0.0.0" });
}

describe.skipIf(missing)(`a report in a browser${missing ? ", skipped: no browser" : ""}`, () => {
  let folder: string;
  let address: string;
  let browser: Browser;
  let measures: Map<string, MeasurePage>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "latdyn-report-"));
    const file = join(folder, "report.html");
    await writeFile(file, await page());
    address = pathToFileURL(file).href;
    measures = await makePages(folder);
    browser = await chromium.launch({
      executablePath,
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    });
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  const open = <Seen>(options: BrowserContextOptions, look: (page: Page) => Promise<Seen>): Promise<Seen> =>
    openAt(address, options, look);

  /** Opens a page, gives it to `look`, and fails on whatever the browser had to complain about. */
  async function openAt<Seen>(
    address: string,
    options: BrowserContextOptions,
    look: (page: Page) => Promise<Seen>,
  ): Promise<Seen> {
    const context = await browser.newContext(options);
    try {
      const opened = await context.newPage();
      const complaints: string[] = [];
      opened.on("console", (message) => complaints.push(message.text()));
      opened.on("pageerror", (error) => complaints.push(error.message));
      opened.on("request", (request) => {
        if (request.url() !== address && !request.url().startsWith("data:"))
          complaints.push(`request: ${request.url()}`);
      });
      await opened.goto(address, { waitUntil: "load" });
      const seen = await look(opened);
      expect(complaints).toEqual([]);
      return seen;
    } finally {
      await context.close();
    }
  }

  it("reads without scripts, with nothing missing and nothing requested", async () => {
    const seen = await open({ javaScriptEnabled: false }, async (opened) => ({
      title: await opened.title(),
      headings: await opened.locator("h1, h2").allInnerTexts(),
      scripts: await opened.locator("script").count(),
    }));
    expect(seen.title).toBe(`Attractors of ${LONG_NAME}`);
    expect(seen.headings).toEqual([
      `Attractors of ${LONG_NAME}`,
      "Result",
      "Points: data",
      "Points: noise",
      "Points: latents",
      "Points: <nowhere>",
      "Points: nothing",
      "Similarity of the sets",
      "Options",
    ]);
    expect(seen.scripts).toBe(0);
  });

  it("decodes every image, and every image and chart has words", async () => {
    const seen = await open({}, (opened) =>
      opened.evaluate(async () => {
        const images = [...document.images];
        await Promise.all(images.map((image) => image.decode()));
        return {
          widths: images.map((image) => image.naturalWidth),
          heights: images.map((image) => image.naturalHeight),
          words: images.map((image) => image.alt),
          charts: [...document.querySelectorAll("svg")].map(
            (chart) => chart.getAttribute("aria-label") ?? "",
          ),
          ratios: images.map((image) => image.clientWidth / image.clientHeight),
        };
      }),
    );
    expect(seen.widths).toEqual(new Array(97).fill(20));
    expect(seen.heights).toEqual(new Array(97).fill(24));
    for (const words of [...seen.words, ...seen.charts]) expect(words).toMatch(/\w{4}/);
    expect(seen.charts.length).toBe(4 + 4 + 4 + 3 + 2);
    for (const ratio of seen.ratios) expect(ratio).toBeCloseTo(20 / 24, 1);
  });

  it.each([1280, 820, 390, 320])("fits a window %i pixels wide", async (width) => {
    const seen = await open({ viewport: { width, height: 800 } }, (opened) => opened.evaluate(overflow));
    expect(seen).toEqual({ page: width, over: [] });
  });

  it("keeps the texts of a chart inside the page and apart from one another", async () => {
    const found = await open({ viewport: { width: 1280, height: 800 } }, (opened) =>
      opened.evaluate(clashes),
    );
    expect(found).toEqual([]);
  });

  it.each(["light", "dark"] as const)(
    "has readable text in %s mode, in charts as well",
    async (colorScheme) => {
      const seen = await open({ colorScheme }, (opened) => opened.evaluate(texts));
      expect(contrast(seen.page, colorScheme === "dark" ? "#000000" : "#ffffff")).toBeLessThan(1.3);
      expect(seen.texts.length).toBeGreaterThan(300);
      expect(seen.texts.filter(({ ink, ground }) => contrast(ink, ground) < 4.5)).toEqual([]);
    },
  );

  it("prints dark on white whatever the reader's scheme", async () => {
    const colours = await open({ colorScheme: "dark" }, async (opened) => {
      await opened.emulateMedia({ media: "print", colorScheme: "dark" });
      return opened.evaluate(() => {
        const { color, backgroundColor } = getComputedStyle(document.body);
        return { color, backgroundColor };
      });
    });
    expect(contrast(colours.backgroundColor, "#ffffff")).toBe(1);
    expect(contrast(colours.color, colours.backgroundColor)).toBeGreaterThan(10);
  });

  it("leads from the table of results to a set", async () => {
    const top = await open({}, async (opened) => {
      await opened.getByRole("link", { name: "latents", exact: true }).click();
      return opened.locator("#set-3").evaluate((element) => element.getBoundingClientRect().top);
    });
    expect(Math.abs(top)).toBeLessThan(20);
  });

  describe.each(MEASURES)("the page of a measure: %s", (name) => {
    const pageOf = (): MeasurePage => {
      const found = measures.get(name);
      if (found === undefined) throw new Error(`no page was made for ${name}`);
      return found;
    };
    const look = <Seen>(options: BrowserContextOptions, see: (page: Page) => Promise<Seen>): Promise<Seen> =>
      openAt(pathToFileURL(pageOf().file).href, options, see);

    it("draws its charts and pictures, with words for each, and fits a wide window in light colours", async () => {
      const seen = await look({ viewport: { width: 1280, height: 800 } }, async (opened) => ({
        title: await opened.title(),
        heading: await opened.locator("h1").innerText(),
        words: await opened.locator("svg").evaluateAll((all) => all.map((svg) => svg.ariaLabel ?? "")),
        charts: await opened.evaluate(charts),
        pictures: await opened.evaluate(pictures),
        ...(await laidOut(opened)),
      }));
      expect(seen.heading).toBe(seen.title);
      expect(seen.charts).toHaveLength(pageOf().charts);
      for (const { width, height, span, inside } of seen.charts) {
        expect(Math.min(width, height)).toBeGreaterThan(100);
        expect(span).toBeGreaterThan(0.05);
        expect(inside).toBe(true);
      }
      expect(seen.pictures).toHaveLength(pageOf().pictures);
      expect(seen.pictures.filter(({ width }) => width === 0)).toEqual([]);
      // Some attractors of this model decode to black; by far not all that is drawn is.
      const bright = seen.pictures.filter(({ range }) => range > 100);
      expect(bright.length).toBeGreaterThanOrEqual(seen.pictures.length / 3);
      for (const words of [...seen.words, ...seen.pictures.map((picture) => picture.words)]) {
        expect(words).toMatch(/\w{4}/);
      }
      checkLayout(seen, 1280, "#ffffff");
    });

    it("fits a phone, in dark colours", async () => {
      const seen = await look({ viewport: { width: 390, height: 800 }, colorScheme: "dark" }, laidOut);
      checkLayout(seen, 390, "#000000");
    });
  });

  async function laidOut(opened: Page) {
    return {
      layout: await opened.evaluate(overflow),
      clashes: await opened.evaluate(clashes),
      colours: await opened.evaluate(texts),
    };
  }

  function checkLayout(
    { layout, clashes: found, colours }: Awaited<ReturnType<typeof laidOut>>,
    width: number,
    ground: string,
  ): void {
    expect(layout).toEqual({ page: width, over: [] });
    expect(found).toEqual([]);
    expect(contrast(colours.page, ground)).toBeLessThan(1.3);
    expect(colours.texts.length).toBeGreaterThan(20);
    expect(colours.texts.filter(({ ink, ground: behind }) => contrast(ink, behind) < 4.5)).toEqual([]);
  }
});
