/** SHA-256 in hexadecimal: of files, one after the other, and of texts. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

export async function hashOf(files: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  }
  return hash.digest("hex");
}

export function hashOfText(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
