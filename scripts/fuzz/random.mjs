/** Mutations of bytes and values that every format shares; `random` is of seededRandom.mjs. */

/** Numbers at which sizes, offsets and indices go wrong. */
const edges = [
  0,
  1,
  -1,
  2,
  3,
  7,
  255,
  256,
  2 ** 15,
  2 ** 16,
  2 ** 24,
  2 ** 24 + 1,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
];

export function edgeNumber(random) {
  return random.uniform() < 0.2
    ? random.pick([2 ** 53, -(2 ** 31), -(2 ** 53), 2 ** 40])
    : random.pick(edges);
}

/** One to four changes anywhere: bits, bytes, runs taken out, doubled or brought in, the end cut off. */
export function mutateBytes(random, bytes, others) {
  let result = Uint8Array.from(bytes);
  for (let changes = random.integer(1, 4); changes > 0 && result.length > 0; changes--) {
    const at = random.integer(0, result.length - 1);
    const run = random.integer(1, Math.min(64, result.length - at));
    const [before, after] = [result.subarray(0, at), result.subarray(at + run)];
    switch (random.integer(0, 6)) {
      case 0:
        result[at] ^= 1 << random.integer(0, 7);
        break;
      case 1:
        result[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.integer(0, 255)]);
        break;
      case 2:
        result = joined(before, after);
        break;
      case 3:
        result = joined(before, result.subarray(at, at + run), result.subarray(at));
        break;
      case 4:
        result = result.slice(0, at);
        break;
      case 5: {
        const other = random.pick(others);
        const from = random.integer(0, Math.max(0, other.length - 1));
        result = joined(before, other.subarray(from, from + run), after);
        break;
      }
      default:
        result.fill(random.integer(0, 255), at, at + run);
    }
  }
  return result;
}

function joined(...parts) {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** Changes one number, text or list somewhere inside a plain value, in place; `texts` are names to mix up. */
export function mutateValue(random, root, texts) {
  const places = [];
  const walk = (value) => {
    if (value instanceof Uint8Array || typeof value !== "object" || value === null) return;
    for (const key of Object.keys(value)) {
      places.push([value, key]);
      walk(value[key]);
    }
  };
  walk(root);
  if (places.length === 0) return;
  const [owner, key] = random.pick(places);
  const value = owner[key];
  if (typeof value === "number")
    owner[key] = random.uniform() < 0.5 ? value + random.integer(-2, 2) : edgeNumber(random);
  else if (typeof value === "string") owner[key] = random.pick(texts);
  else if (Array.isArray(value) && value.length > 0) {
    const at = random.integer(0, value.length - 1);
    const change = random.integer(0, 2);
    if (change === 0) value.splice(at, 1);
    else if (change === 1) value.splice(at, 0, structuredClone(value[at]));
    else value.push(value.shift());
  } else if (Array.isArray(owner)) owner.splice(Number(key), 1);
  else delete owner[key];
}
