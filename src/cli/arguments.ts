/** Arguments that are more than text. */
import { InvalidArgumentError } from "commander";

/** For options that take a number; ranges are checked where the option is used. "inf" is Infinity. */
export function number(text: string): number {
  if (/^\+?inf(inity)?$/i.test(text)) return Number.POSITIVE_INFINITY;
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isNaN(value)) throw new InvalidArgumentError("expected a number");
  return value;
}

/** For options that may be given several times. */
export function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

/** Names without the keys whose value was not given, so that defaults apply. */
export function given<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** For options that take several numbers at once, separated by commas. */
export function numbers(text: string): number[] {
  return text.split(",").map(number);
}
