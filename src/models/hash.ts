/** SHA-256 over the files' bytes, one after the other; hex. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

export async function hashOf(files: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  }
  return hash.digest("hex");
}
