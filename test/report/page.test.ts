import { describe, expect, it } from "vitest";
import {
  escapeHtml,
  facts,
  figure,
  html,
  notice,
  page,
  section,
  statusName,
  table,
  trusted,
} from "../../src/report/page.js";

const HOSTILE = `<script>alert("1")</script>&'`;
const HARMLESS = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;";

describe("html", () => {
  it("escapes text and leaves markup of its own making alone", () => {
    expect(escapeHtml(HOSTILE)).toBe(HARMLESS);
    expect(html`<p title="${HOSTILE}">${HOSTILE} ${3} ${html`<b>${HOSTILE}</b>`}</p>`.html).toBe(
      `<p title="${HARMLESS}">${HARMLESS} 3 <b>${HARMLESS}</b></p>`,
    );
  });

  it("joins lists and keeps what is trusted", () => {
    expect(html`<ul>${["a", "<"].map((text) => html`<li>${text}</li>`)}</ul>${trusted("<svg/>")}`.html).toBe(
      "<ul><li>a</li><li>&lt;</li></ul><svg/>",
    );
  });
});

describe("the parts of a page", () => {
  it.each([
    ["section", section("a", HOSTILE, HOSTILE)],
    ["figure", figure({ title: HOSTILE, caption: HOSTILE, body: HOSTILE })],
    ["facts", facts([[HOSTILE, HOSTILE]])],
    ["table", table(HOSTILE, [{ heading: HOSTILE }], [[HOSTILE]])],
    ["notice", notice("warning", HOSTILE)],
    ["page", { html: page({ title: HOSTILE, generator: HOSTILE, body: html`${HOSTILE}` }) }],
  ])("%s escapes what it is given", (_, part) => {
    expect(part.html).toContain(HARMLESS);
    expect(part.html).not.toContain("<script");
  });

  it("names a status beside its colour", () => {
    expect(statusName("maxIterations").html).toContain("max-iterations");
    expect(statusName("maxIterations").html).toContain("var(--max-iterations, ");
  });
});

describe("page", () => {
  const text = page({ title: "A title", generator: "latent-dynamics 1.2.3", body: html`<p>body</p>` });

  it("is a whole document that forbids requests and scripts", () => {
    expect(text.startsWith('<!doctype html>\n<html lang="en">')).toBe(true);
    expect(text.trimEnd().endsWith("</html>")).toBe(true);
    expect(text).toContain("<title>A title</title>");
    expect(text).toContain(`content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"`);
  });

  it("names no resource outside itself", () => {
    expect(text).not.toMatch(/<script|<link rel="stylesheet"|@import|url\(|https?:/);
  });
});
