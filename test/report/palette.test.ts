import { describe, expect, it } from "vitest";
import { type Colour, colour, colourDeclarations, ROLES, STATUSES } from "../../src/report/palette.js";
import { contrast } from "./contrast.js";

describe.each(["light", "dark"] as const)("the %s palette", (scheme) => {
  const against = (ink: Colour, ground: Colour) => contrast(ink[scheme], ground[scheme]);

  it.each(["ink", "muted", "accent"] as const)("writes %s readably on the page and on surfaces", (role) => {
    expect(against(ROLES[role], ROLES.page)).toBeGreaterThanOrEqual(4.5);
    expect(against(ROLES[role], ROLES.surface)).toBeGreaterThanOrEqual(4.5);
  });

  it.each(STATUSES)("tells $label from the page, and words on it are readable", ({ colour: status }) => {
    expect(against(status, ROLES.page)).toBeGreaterThanOrEqual(3);
    expect(against(ROLES.onStatus, status)).toBeGreaterThanOrEqual(4.5);
  });

  it("declares a variable for every colour that charts may name", () => {
    const declared = colourDeclarations(scheme);
    for (const name of [...Object.keys(ROLES), ...STATUSES.map(({ key }) => key)]) {
      const variable = /var\((--[a-z-]+),/.exec(colour(name as keyof typeof ROLES))?.[1];
      expect(declared).toContain(`${variable}:#`);
    }
  });
});

describe("contrast", () => {
  it("is 21 for black on white and 1 for a colour on itself", () => {
    expect(contrast("#000000", "#ffffff")).toBeCloseTo(21, 5);
    expect(contrast("#777777", "#777777")).toBe(1);
  });
});
