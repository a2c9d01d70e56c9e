/** The colours a report uses, by role, for a light and for a dark page. Charts refer to them as CSS variables. */

export interface Colour {
  readonly light: string;
  readonly dark: string;
}

/** What becomes of an initial point. */
export type StatusKey = "converged" | "maxIterations" | "cycle" | "diverged" | "nonFinite" | "unfinished";

export interface StatusStyle {
  readonly key: StatusKey;
  /** As the run folder and the command line write it. */
  readonly label: string;
  /** Plain words for a reader who meets the status for the first time. */
  readonly meaning: string;
  readonly colour: Colour;
}

/**
 * Hues follow Okabe and Ito, which differ for every common kind of colour vision. Each is dark enough on a light page
 * (light enough on a dark one) that `onStatus` text can be read on top of it: contrast of at least 4.5.
 */
export const STATUSES: readonly StatusStyle[] = [
  {
    key: "converged",
    label: "converged",
    meaning: "the step fell below the tolerance",
    colour: { light: "#0b6bb0", dark: "#5ab3ee" },
  },
  {
    key: "maxIterations",
    label: "max-iterations",
    meaning: "still moving when the iterations ran out",
    colour: { light: "#8a6600", dark: "#e3b62f" },
  },
  {
    key: "cycle",
    label: "cycle",
    meaning: "returns to itself every few steps",
    colour: { light: "#0a7557", dark: "#38c29a" },
  },
  {
    key: "diverged",
    label: "diverged",
    meaning: "ran away from the origin",
    colour: { light: "#bf3f0a", dark: "#ff8552" },
  },
  {
    key: "nonFinite",
    label: "non-finite",
    meaning: "became NaN or infinite",
    colour: { light: "#9c3f80", dark: "#dd94c9" },
  },
  {
    key: "unfinished",
    label: "unfinished",
    meaning: "not finished when the run was interrupted",
    colour: { light: "#666c75", dark: "#a3aab3" },
  },
];

/** Everything on the page that is not a status. */
export const ROLES = {
  page: { light: "#ffffff", dark: "#15181c" },
  surface: { light: "#f5f6f8", dark: "#1e2227" },
  ink: { light: "#1b1f24", dark: "#e8eaed" },
  muted: { light: "#59616b", dark: "#a5adb7" },
  line: { light: "#d9dde2", dark: "#353b43" },
  accent: { light: "#0b6bb0", dark: "#5ab3ee" },
  warning: { light: "#8a6600", dark: "#e3b62f" },
  onStatus: { light: "#ffffff", dark: "#11151a" },
} as const satisfies Record<string, Colour>;

export type Role = keyof typeof ROLES;

/** "maxIterations" → "--max-iterations". */
function variable(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** A colour as charts and styles write it: the variable, with the light value for an SVG that has left its page. */
export function colour(name: Role | StatusKey): string {
  const known = name in ROLES ? ROLES[name as Role] : STATUSES.find((status) => status.key === name)?.colour;
  if (known === undefined) throw new RangeError(`no colour is called ${name}`);
  return `var(${variable(name)}, ${known.light})`;
}

/** The declarations that give every variable its value under one scheme. */
export function colourDeclarations(scheme: keyof Colour): string {
  const roles = Object.entries(ROLES).map(([name, value]) => `${variable(name)}:${value[scheme]}`);
  const statuses = STATUSES.map(({ key, colour }) => `${variable(key)}:${colour[scheme]}`);
  return [...roles, ...statuses].join(";");
}
