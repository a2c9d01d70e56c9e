import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The tree of the addon's build, in which the test programs of native/test are built too. */
export const buildTree = fileURLToPath(new URL("../../build/cmake/", import.meta.url));

/** Whether it is there: not where the addon came from elsewhere (LATDYN_ADDON). */
export const hasBuildTree = existsSync(join(buildTree, "CMakeCache.txt"));

/** Builds targets of CMakeLists.txt, one test file at a time: two builds in one tree would be in each other's way. */
export function buildPrograms(...targets: string[]): void {
  const build = ["cmake", "--build", buildTree, "--parallel", String(availableParallelism()), "--target"];
  const { error, status, stdout, stderr } = spawnSync(
    "flock",
    [join(buildTree, "tests.lock"), ...build, ...targets],
    { encoding: "utf8", maxBuffer: 1 << 26 },
  );
  if (error) throw error;
  if (status !== 0) throw new Error(`the build of ${targets.join(", ")} failed:\n${stdout}${stderr}`);
}
