/** Arguments that are more than text. */
import { InvalidArgumentError } from "commander";
import { InputError } from "../errors.js";

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

/** Throws InputError naming the first option that was given although `source`, a matrix, has no use for it. */
export function refuseFor(source: string, options: Readonly<Record<string, unknown>>): void {
  const name = Object.keys(options).find((option) => options[option] !== undefined);
  if (name !== undefined) {
    throw new InputError(`${source}: is no run folder but taken as a matrix, and ${name} goes with a run`);
  }
}
