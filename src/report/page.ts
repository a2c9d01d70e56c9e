/** A page that needs nothing but itself: no script, no request, styles and pictures inside. */
import type { MeasureNote } from "../dynamics/note.js";
import { colour, colourDeclarations, STATUSES, type StatusKey } from "./palette.js";

/** Text that is HTML already. Made by `html` and `trusted` alone, so that everything else is escaped. */
export interface Html {
  readonly html: string;
}

export type Content = Html | readonly Html[] | string | number;

/** For text and for attribute values in double quotes. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

function render(content: Content): string {
  if (typeof content === "string") return escapeHtml(content);
  if (typeof content === "number") return String(content);
  return "html" in content ? content.html : content.map(({ html }) => html).join("");
}

/** Template tag: strings that are put in are escaped, Html is not. */
export function html(strings: TemplateStringsArray, ...contents: Content[]): Html {
  return { html: strings.map((text, i) => (i === 0 ? text : render(contents[i - 1]) + text)).join("") };
}

/** Marks markup that this program made itself (an SVG it rendered). Never for text from outside. */
export function trusted(markup: string): Html {
  return { html: markup };
}

/** Nothing. */
export const EMPTY: Html = { html: "" };

export interface PageOptions {
  readonly title: string;
  /** Name and version of the program, for the foot of the page and the `generator` of its head. */
  readonly generator: string;
  readonly body: Html;
}

/** The whole document. Its policy forbids every request, whatever the body holds. */
export function page({ title, generator, body }: PageOptions): string {
  return `${
    html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="${generator}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${trusted(STYLE)}</style>
</head>
<body>
<main>
${body}
</main>
<footer><p>Made by ${generator}.</p></footer>
</body>
</html>
`.html
  }`;
}

/** A section with an anchor of its own. `id` is made by the program, not taken from outside. */
export function section(id: string, heading: Content, body: Content): Html {
  return html`<section id="${id}">
<h2><a href="#${id}">${heading}</a></h2>
${body}
</section>
`;
}

export interface FigureOptions {
  readonly title: string;
  /** What one sees, in a sentence or two. */
  readonly caption: Content;
  readonly body: Content;
  /** Spans the page instead of one column. */
  readonly wide?: boolean;
}

export function figure({ title, caption, body, wide = false }: FigureOptions): Html {
  return html`<figure class="${wide ? "wide" : "column"}">
<h3>${title}</h3>
${body}
<figcaption>${caption}</figcaption>
</figure>
`;
}

/** A name, a value, and whether the pair takes a line of its own. */
export type Fact = readonly [name: Content, value: Content, place?: "line"];

export function facts(pairs: readonly Fact[]): Html {
  return html`<dl class="facts">${pairs.map(
    ([name, value, place = "cell"]) => html`<div class="${place}"><dt>${name}</dt><dd>${value}</dd></div>`,
  )}</dl>
`;
}

export interface Column {
  readonly heading: string;
  /** Numbers stand right-aligned. */
  readonly numeric?: boolean;
}

/** The first cell of every row is its heading. A table wider than the page scrolls by itself. */
export function table(
  label: string,
  columns: readonly Column[],
  rows: readonly (readonly Content[])[],
): Html {
  const align = (i: number) => (columns[i].numeric ? "number" : "text");
  return html`<div class="scroll" role="region" aria-label="${label}" tabindex="0"><table>
<thead><tr>${columns.map(({ heading }, i) => html`<th scope="col" class="${align(i)}">${heading}</th>`)}</tr></thead>
<tbody>${rows.map(
    (cells) =>
      html`<tr>${cells.map((cell, i) =>
        i === 0
          ? html`<th scope="row" class="${align(i)}">${cell}</th>`
          : html`<td class="${align(i)}">${cell}</td>`,
      )}</tr>
`,
  )}</tbody>
</table></div>
`;
}

/** Something to know before reading on: a warning where figures could mislead, a note where they are partial. */
export function notice(kind: "warning" | "note", text: Content): Html {
  return html`<p class="notice ${kind}" role="note"><strong>${kind === "warning" ? "Read with care. " : "Note. "}</strong>${text}</p>
`;
}

/** What a record notes, named after the set it speaks of. */
export function noticeOf({ kind, set, text }: MeasureNote): Html {
  return notice(kind, set === undefined ? text : `${set}: ${text}`);
}

/** A status in words, with its colour beside it. */
export function statusName(status: StatusKey): Html {
  const label = STATUSES.find(({ key }) => key === status)?.label ?? status;
  return html`<span class="status"><span class="swatch" style="background:${colour(status)}"></span>${label}</span>`;
}

const STYLE = `
:root{color-scheme:light dark;${colourDeclarations("light")}}
@media screen and (prefers-color-scheme:dark){:root{${colourDeclarations("dark")}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
main,footer{max-width:1064px;margin:0 auto;padding:0 24px}
main{padding-top:40px}
footer{padding-top:24px;padding-bottom:40px;color:var(--muted);font-size:.875rem}
a{color:var(--accent)}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
h1{font-size:clamp(1.6rem,1.2rem + 2vw,2.25rem);line-height:1.2;letter-spacing:-.015em;margin:0 0 .4em}
h2{font-size:1.4rem;line-height:1.3;letter-spacing:-.01em;margin:0 0 .6em}
h2 a{color:inherit;text-decoration:none}
h2 a:hover{text-decoration:underline}
h3{font-size:1rem;line-height:1.4;margin:0 0 .75rem;font-weight:600}
p{margin:0 0 1em;max-width:72ch}
.eyebrow{color:var(--muted);font-size:.875rem;margin:0 0 .4em}
.lead{font-size:1.0625rem}
section{border-top:1px solid var(--line);margin-top:40px;padding-top:28px;scroll-margin-top:8px}
sub{line-height:0;font-size:.75em}
.notice{max-width:none;margin:0 0 1.25rem;padding:.75rem 1rem;background:var(--surface);border-left:4px solid var(--accent);border-radius:0 6px 6px 0}
.notice.warning{border-left-color:var(--warning)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(160px,1fr));gap:.9rem 1.5rem;margin:0 0 1.5rem}
.facts .line{grid-column:1/-1}
.facts dt{color:var(--muted);font-size:.8125rem}
.facts dd{margin:0;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto;margin:0 0 1rem}
table{border-collapse:collapse;width:100%;font-size:.9375rem;font-variant-numeric:tabular-nums;overflow-wrap:normal}
th,td{padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:baseline}
thead .number{white-space:normal}
thead th{color:var(--muted);font-weight:400;font-size:.8125rem;vertical-align:bottom}
tbody th{font-weight:500}
.number{text-align:right;white-space:nowrap;padding-left:.75rem;padding-right:0}
.status{white-space:nowrap}
.swatch{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.5em}
.key{display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:0 0 .5rem;font-size:.875rem}
.meaning{color:var(--muted);font-size:.875rem}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:36px 48px;margin:1.5rem 0}
figure{margin:0;min-width:0}
figure.wide{grid-column:1/-1}
figure.wide+.scroll{margin-top:1.5rem}
figcaption{color:var(--muted);font-size:.875rem;line-height:1.5;margin-top:.6rem;max-width:80ch}
figure>svg{display:block;width:100%;max-width:560px;height:auto;overflow:visible;font-family:inherit}
.cards{list-style:none;margin:0;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:20px 16px}
.cards.paired{grid-template-columns:repeat(auto-fill,minmax(208px,1fr));gap:24px 20px}
.cards li{min-width:0;font-size:.8125rem;line-height:1.4;font-variant-numeric:tabular-nums}
.pictures{display:grid;grid-template-columns:1fr;gap:6px}
.paired .pictures{grid-template-columns:1fr 1fr}
.pictures img,.pictures svg{display:block;width:100%;height:auto;aspect-ratio:var(--ratio,1);border:1px solid var(--line);border-radius:4px;background:var(--surface);image-rendering:pixelated}
.pictures svg{aspect-ratio:3/2;padding:4px}
.basin{height:4px;border-radius:2px;background:var(--line);margin:6px 0 4px}
.basin span{display:block;height:100%;min-width:2px;border-radius:2px;background:var(--converged)}
.cards b{font-weight:600}
.cards .more{color:var(--muted)}
details{margin-top:1rem}
summary{cursor:pointer;color:var(--accent)}
pre{background:var(--surface);border-radius:6px;padding:1rem;overflow-x:auto;font:.8125rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap}
@media screen and (max-width:760px){
main,footer{padding-left:16px;padding-right:16px}
main{padding-top:24px}
.grid{grid-template-columns:minmax(0,1fr)}
.facts{grid-template-columns:repeat(auto-fill,minmax(132px,1fr))}
table{font-size:.8125rem}
th,td{padding-right:.3rem}
thead th{font-size:.6875rem}
.number{padding-left:.3rem;padding-right:0}
.cards{grid-template-columns:repeat(auto-fill,minmax(88px,1fr));gap:16px 12px}
.cards.paired{grid-template-columns:repeat(auto-fill,minmax(152px,1fr));gap:20px 14px}
}
@media print{
body{font-size:11pt}
main{padding-top:0;max-width:none}
summary{display:none}
section{margin-top:24px;padding-top:16px}
.grid{gap:24px 28px}
.facts{grid-template-columns:repeat(5,1fr)}
.cards.paired{grid-template-columns:repeat(4,1fr)}
figure.column,.cards li,.notice,tr{break-inside:avoid}
h2,h3{break-after:avoid}
.swatch,.basin,.basin span,.notice{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
`;
