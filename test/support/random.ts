/** Small seeded generator for tests, on the one of scripts/fuzz: the same numbers on every machine. */
import { type Choices, seededRandom as seededChoices } from "../../scripts/fuzz/seededRandom.mjs";

export interface Random extends Choices {
  /** Roughly N(0, 1): sum of twelve uniforms. */
  normal(): number;
  floats(length: number, scale?: number): Float32Array;
}

export function seededRandom(seed: number): Random {
  const choices = seededChoices(seed);
  const normal = () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += choices.uniform();
    return sum;
  };
  return {
    ...choices,
    normal,
    floats: (length, scale = 1) => Float32Array.from({ length }, () => normal() * scale),
  };
}
