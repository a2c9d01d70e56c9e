/** CIFAR-10's binary format: records of one label byte and 3,072 pixels, planes R, G, B of 32×32. */
import { InputError } from "../errors.js";
import { readBytes } from "./bytes.js";
import { checkCount, type Dataset, type ReadRowsOptions, rowsToRead } from "./dataset.js";

const PIXELS = 3 * 32 * 32;
const RECORD = 1 + PIXELS;

/**
 * Reads CIFAR records, plain or gzip'd, as [3,32,32] bytes; labels are skipped.
 * Throws InputError where the file is not a whole number of records or holds fewer than asked for.
 */
export async function readCifar(path: string, { count }: ReadRowsOptions = {}): Promise<Dataset> {
  checkCount(count, path);
  const keep = count === undefined ? Number.POSITIVE_INFINITY : count * RECORD;
  const { bytes, total } = await readBytes(path, () => ({ header: 0, keep, total: null }));
  if (total % RECORD !== 0) {
    throw new InputError(
      `${path}: ${total} bytes are not a whole number of CIFAR records of ${RECORD} bytes (one label, 3×32×32 pixels)`,
    );
  }
  const available = total / RECORD;
  return {
    path,
    format: "cifar",
    rows: rowsToRead(count, available, path),
    available,
    row: (index) => ({ shape: [3, 32, 32], data: bytes.subarray(index * RECORD + 1, (index + 1) * RECORD) }),
  };
}
