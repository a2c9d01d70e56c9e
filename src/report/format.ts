/** Numbers as a reader of a report sees them. */

const GROUPED = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 12345 → "12,345". */
export function count(value: number): string {
  return GROUPED.format(value);
}

/** "1 point", "2 points". */
export function countOf(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/**
 * A part of a whole in per cent, one decimal. What is not all is never printed as 100.0 % and what is not nothing never
 * as 0.0 %; a whole of 0 has no shares and gives "–".
 */
export function share(part: number, whole: number): string {
  if (whole === 0) return "–";
  const percent = (100 * part) / whole;
  if (part > 0 && percent < 0.05) return "< 0.1 %";
  if (part < whole && percent >= 99.95) return "> 99.9 %";
  return `${percent.toFixed(1)} %`;
}

/**
 * Four significant digits without trailing zeros, whole numbers from 1000 on; very small and very large ones as "1e-6".
 * "–" for NaN.
 */
export function quantity(value: number): string {
  if (Number.isNaN(value)) return "–";
  if (value < 0) return `−${quantity(-value)}`;
  if (value === Number.POSITIVE_INFINITY) return "∞";
  if (value !== 0 && (value < 1e-3 || value >= 1e9)) {
    return value.toExponential(3).replace(/\.?0*e\+?/, "e");
  }
  return value >= 1000 ? count(value) : String(Number(value.toPrecision(4)));
}

/** Wall time: "0.42 s", "3 min 20 s". */
export function duration(seconds: number): string {
  if (seconds < 60) return `${quantity(seconds)} s`;
  const whole = Math.round(seconds);
  return `${count(Math.floor(whole / 60))} min ${whole % 60} s`;
}
