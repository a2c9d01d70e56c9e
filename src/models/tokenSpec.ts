/** The part of a model's name that says what of its tokens is the latent. */
import { InputError } from "../errors.js";

export const LATENTS = ["tokens", "class", "pooled"] as const;

export interface MaskOptions {
  /** Share of the patches that the encoder never sees, in [0, 1). */
  readonly ratio: number;
  /** Whole number of at least 0 that picks them. Default 0. */
  readonly randomSeed?: number;
}

export interface TokenOptions {
  readonly latent: (typeof LATENTS)[number];
  readonly mask: { readonly ratio: number; readonly randomSeed: number } | null;
}

/** Throws InputError where an option is none; null where all tokens are the latent and none is masked. */
export function tokenOptions(given: { latent?: unknown; mask?: unknown }): TokenOptions | null {
  const latent = given.latent ?? "tokens";
  if (!LATENTS.includes(latent as TokenOptions["latent"])) {
    throw new InputError(`latent is ${JSON.stringify(latent)}, expected ${LATENTS.join(", ")}`);
  }
  const mask = given.mask === undefined || given.mask === null ? null : checkMask(given.mask);
  if (latent === "tokens" && mask === null) return null;
  return { latent: latent as TokenOptions["latent"], mask };
}

function checkMask(mask: unknown): NonNullable<TokenOptions["mask"]> {
  if (typeof mask !== "object" || mask === null) {
    throw new InputError(`mask is ${JSON.stringify(mask)}, expected { ratio, randomSeed }`);
  }
  const unknown = Object.keys(mask).find((key) => key !== "ratio" && key !== "randomSeed");
  if (unknown !== undefined) {
    throw new InputError(`unknown option "mask.${unknown}", expected ratio or randomSeed`);
  }
  const { ratio, randomSeed = 0 } = mask as MaskOptions;
  if (typeof ratio !== "number" || !(ratio >= 0 && ratio < 1)) {
    throw new InputError(`mask.ratio is ${JSON.stringify(ratio)}, expected a number in [0, 1)`);
  }
  if (!Number.isSafeInteger(randomSeed) || randomSeed < 0) {
    throw new InputError(
      `mask.randomSeed is ${JSON.stringify(randomSeed)}, expected a whole number of at least 0`,
    );
  }
  return { ratio, randomSeed };
}

/** "class,mask=0.75@3": what stands behind "#" in a model's path. */
export function formatTokens({ latent, mask }: TokenOptions): string {
  return mask === null ? latent : `${latent},mask=${mask.ratio}@${mask.randomSeed}`;
}

/** A path with what `formatTokens` writes behind "#", in two parts; null where it ends in nothing of the kind. */
export function splitTokens(path: string): { path: string; tokens: TokenOptions | null } | null {
  const [, before, latent, ratio, seed] =
    /^(.+)#(tokens|class|pooled)(?:,mask=([^@,#]+)@(\d+))?$/s.exec(path) ?? [];
  if (before === undefined) return null;
  const mask = ratio === undefined ? null : { ratio: Number(ratio), randomSeed: Number(seed) };
  return { path: before, tokens: tokenOptions({ latent, mask }) };
}
