/**
 * setup.mjs on a small repository of its own with programs that are ours, so that what it decides can be
 * checked without compiling anything and without touching the system.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const scripts = fileURLToPath(new URL("../../scripts/", import.meta.url));
let root: string;
let bin: string;

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

/** A program on the only PATH that setup is given. */
function program(name: string, text = "#!/bin/sh\nexit 0\n"): void {
  writeFileSync(join(bin, name), text);
  chmodSync(join(bin, name), 0o755);
}

function setup(...args: string[]): { status: number | null; out: string; err: string } {
  const env = { PATH: bin, CPATH: join(root, "include"), npm_execpath: "" };
  const run = spawnSync(process.execPath, [join(root, "scripts", "setup.mjs"), ...args], {
    encoding: "utf8",
    env,
    cwd: tmpdir(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  return { status: run.status, out: run.stdout, err: run.stderr };
}

function writeLocks(installed: Record<string, object>): void {
  const wanted = {
    "": { name: "small" },
    "node_modules/alpha": { version: "1.0.0", integrity: "sha512-a" },
    "node_modules/beta-darwin": { version: "2.0.0", integrity: "sha512-b", optional: true },
  };
  write("package-lock.json", JSON.stringify({ packages: wanted }));
  write("node_modules/.package-lock.json", JSON.stringify({ packages: installed }));
}

/** Leaves what the two builds leave: a product, and the fingerprint of what it was made of. */
function pretendBuilt(): void {
  write("build/Release/latent_dynamics.node", "addon");
  write("dist/index.js", "");
  const note = `
    import * as t from ${JSON.stringify(join(root, "scripts", "toolchain.mjs"))};
    t.writeStamp(t.nativeStamp, t.nativeFingerprint());
    const sources = [...t.filesUnder("src"), "tsconfig.json", "tsconfig.build.json"];
    t.writeStamp(t.typescriptStamp, t.fingerprint(sources, [""]));`;
  const run = spawnSync(process.execPath, ["--input-type=module", "--eval", note], { encoding: "utf8" });
  expect(run.stderr).toBe("");
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "latdyn-setup-"));
  bin = join(root, "bin");
  mkdirSync(bin);
  mkdirSync(join(root, "scripts"));
  for (const file of ["setup.mjs", "toolchain.mjs", "build-native.mjs", "format-native.mjs"]) {
    copyFileSync(join(scripts, file), join(root, "scripts", file));
  }
  write("package.json", JSON.stringify({ version: "1.2.3" }));
  write("CMakeLists.txt", "project(small)\n");
  write("native/small.cpp", "int main() {}\n");
  write("src/index.ts", "export {};\n");
  write("tsconfig.json", "{}");
  write("tsconfig.build.json", "{}");
  write("include/dnnl.hpp", "");
  for (const name of ["g++", "cmake", "make"]) program(name);
  writeLocks({ "node_modules/alpha": { version: "1.0.0", integrity: "sha512-a" } });
  pretendBuilt();
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("setup", () => {
  it("says one line and changes nothing when everything is in place", () => {
    for (const args of [[], ["--check"]]) {
      expect(setup(...args)).toEqual({ status: 0, out: "setup: everything is in place\n", err: "" });
    }
  });

  it("sees that a native source, the CMake file or the version changed, and only that", () => {
    for (const [path, text] of [
      ["native/small.cpp", "int main() { return 0; }\n"],
      ["native/new.h", "#pragma once\n"],
      ["CMakeLists.txt", "project(smaller)\n"],
      ["package.json", JSON.stringify({ version: "1.2.4" })],
    ] as const) {
      pretendBuilt();
      write(path, text);
      expect(setup("--check")).toEqual({ status: 1, out: "missing: the native addon (CMake)\n", err: "" });
    }
  });

  it("sees that a TypeScript source changed or went away", () => {
    write("src/cli/main.ts", "export {};\n");
    expect(setup("--check").out).toBe("missing: the TypeScript build (tsc)\n");
    pretendBuilt();
    expect(setup("--check").status).toBe(0);
    unlinkSync(join(root, "src/cli/main.ts"));
    expect(setup("--check").out).toBe("missing: the TypeScript build (tsc)\n");
  });

  it("does not rebuild for new file times", () => {
    write("native/small.cpp", readFileSync(join(root, "native/small.cpp"), "utf8"));
    expect(setup("--check").status).toBe(0);
  });

  it("rebuilds a product that was deleted", () => {
    unlinkSync(join(root, "build/Release/latent_dynamics.node"));
    unlinkSync(join(root, "dist/index.js"));
    expect(setup("--check").out).toBe(
      "missing: the native addon (CMake)\nmissing: the TypeScript build (tsc)\n",
    );
  });

  it.each([
    ["another version", { "node_modules/alpha": { version: "1.0.1", integrity: "sha512-a" } }],
    ["other contents", { "node_modules/alpha": { version: "1.0.0", integrity: "sha512-x" } }],
    ["no package", {}],
  ])("asks for npm ci where node_modules has %s", (_, installed) => {
    writeLocks(installed);
    expect(setup("--check")).toEqual({ status: 1, out: "missing: npm packages (npm ci)\n", err: "" });
  });

  it("asks for npm ci where there is no node_modules", () => {
    rmSync(join(root, "node_modules"), { recursive: true });
    expect(setup("--check").out).toBe("missing: npm packages (npm ci)\n");
  });

  it("names the packages a bare machine lacks, and what each is for", () => {
    for (const name of ["g++", "cmake", "make"]) unlinkSync(join(bin, name));
    expect(setup("--check").out).toBe(
      "missing: system packages: g++ (a C++20 compiler), cmake (CMake 3.19 or newer), make (make or ninja)\n",
    );
  });

  it("asks for clang-format and a browser with --ci alone", () => {
    expect(setup("--check", "--ci").out).toBe(
      "missing: system packages: clang-format (the format check), chromium (the browser test of the report)\n",
    );
  });

  it("without apt-get says what is missing and stops", () => {
    unlinkSync(join(bin, "cmake"));
    const { status, err } = setup();
    expect(status).toBe(1);
    expect(err).toContain("this machine lacks CMake 3.19 or newer, and has no apt-get to install it with");
  });

  it("installs what is missing with one update and one install, then goes on", () => {
    unlinkSync(join(bin, "cmake"));
    const log = join(root, "apt.log");
    symlinkSync("/usr/bin/env", join(bin, "env"));
    program("sudo", '#!/bin/sh\n[ "$1" = "-n" ] && exit 0\nexec "$@"\n');
    program(
      "apt-get",
      `#!/bin/sh
echo "$DEBIAN_FRONTEND $*" >> ${log}
case "$*" in *install*) printf '#!/bin/sh\\n' > ${bin}/cmake; /bin/chmod +x ${bin}/cmake;; esac
`,
    );
    const first = setup();
    expect(first).toMatchObject({ status: 0, err: "" });
    expect(first.out).toContain("setup: installing cmake with apt-get\n");
    const calls = readFileSync(log, "utf8").trim().split("\n");
    expect(calls).toHaveLength(2);
    expect(calls[0]).toMatch(/^noninteractive update\b/);
    expect(calls[1]).toMatch(/^noninteractive install .* cmake$/);
    expect(setup().out).toBe("setup: everything is in place\n");
  });

  it("stops with exit code 1 where apt-get cannot install what is needed", () => {
    unlinkSync(join(bin, "cmake"));
    symlinkSync("/usr/bin/env", join(bin, "env"));
    program("sudo", '#!/bin/sh\n[ "$1" = "-n" ] && exit 0\nexec "$@"\n');
    program("apt-get", "#!/bin/sh\nexit 100\n");
    const { status, err } = setup();
    expect(status).toBe(1);
    expect(err).toContain("apt-get could not install cmake");
  });

  it("goes on where only a package for the checks cannot be installed", () => {
    program("clang-format");
    symlinkSync("/usr/bin/env", join(bin, "env"));
    program("sudo", '#!/bin/sh\n[ "$1" = "-n" ] && exit 0\nexec "$@"\n');
    program("apt-get", "#!/bin/sh\nexit 100\n");
    const { status, err } = setup("--ci");
    expect(status).toBe(0);
    expect(err).toContain("going on without chromium: the browser test of the report will be skipped");
  });

  it.skipIf(process.getuid?.() === 0)(
    "prints the one command to type where there is apt-get and no way to become root (skipped for root)",
    () => {
      unlinkSync(join(bin, "cmake"));
      program("apt-get");
      const { status, err } = setup();
      expect(status).toBe(1);
      expect(err).toContain("sudo apt-get update && sudo apt-get install -y cmake\n");
    },
  );

  describe("with --runtimes", () => {
    const names = ["onnxruntime-node", "@tensorflow/tfjs", "@tensorflow/tfjs-backend-wasm"];
    const step = `runtimes for tests and benches: ${names.join(", ")}\n`;
    /** An npm that logs its arguments and installs what is asked for. */
    const npm = (log: string) =>
      program(
        "npm",
        `#!/bin/sh
echo "$*" >> ${log}
for p in "$@"; do case "$p" in *@[0-9]*)
  name=\${p%@*}
  /bin/mkdir -p ${root}/node_modules/$name
  echo "{\\"version\\": \\"\${p##*@}\\"}" > ${root}/node_modules/$name/package.json
esac; done
`,
      );

    it("asks for the runtimes that tests compare with, and only then", () => {
      expect(setup("--check").status).toBe(0);
      expect(setup("--check", "--runtimes")).toEqual({ status: 1, out: `missing: ${step}`, err: "" });
    });

    it("installs exact versions beside what is there, once, and plain setup leaves them alone", () => {
      const log = join(root, "npm.log");
      npm(log);
      const first = setup("--runtimes");
      expect(first).toMatchObject({ status: 0, err: "" });
      expect(first.out).toContain(`setup: ${step}`);
      for (const args of [["--runtimes"], ["--check", "--runtimes"], []]) {
        expect(setup(...args)).toMatchObject({ status: 0, out: "setup: everything is in place\n" });
      }
      const calls = readFileSync(log, "utf8").trim().split("\n");
      expect(calls).toHaveLength(1);
      expect(calls[0]).toMatch(/^install --no-save .*--ignore-scripts/);
      for (const name of names) expect(calls[0]).toMatch(new RegExp(` ${name}@\\d+\\.\\d+\\.\\d+( |$)`));
    });

    it("names all of them where one is missing or another version: npm would remove the rest", () => {
      const log = join(root, "npm.log");
      npm(log);
      setup("--runtimes");
      write("node_modules/@tensorflow/tfjs/package.json", JSON.stringify({ version: "0.0.1" }));
      expect(setup("--runtimes").status).toBe(0);
      const [first, second] = readFileSync(log, "utf8").trim().split("\n");
      expect(second).toBe(first);
    });

    it("says so and goes on where npm cannot install them, and tries again next time", () => {
      program("npm", "#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n");
      for (let i = 0; i < 2; i++) {
        const { status, err } = setup("--runtimes");
        expect(status).toBe(0);
        expect(err).toMatch(/^setup: going on without onnxruntime-node@\S+, .*skipped \(npm: ENOTFOUND\)\n$/);
      }
    });
  });

  it("refuses an unknown option", () => {
    expect(setup("--chekc")).toMatchObject({ status: 2, out: "" });
  });
});

describe("the build and format scripts", () => {
  const run = (script: string, ...args: string[]) =>
    spawnSync(process.execPath, [join(root, "scripts", script), ...args], {
      encoding: "utf8",
      env: { PATH: bin },
    });

  it("build-native says what to run where npm packages are missing", () => {
    const { status, stderr } = run("build-native.mjs");
    expect(status).toBe(1);
    expect(stderr).toBe('cmake-js is not installed: run "npm run setup" in the repository\'s folder.\n');
  });

  it("build-native says in one sentence that cmake or the compiler is missing", () => {
    write("node_modules/cmake-js/package.json", JSON.stringify({ name: "cmake-js", version: "0.0.0" }));
    unlinkSync(join(bin, "g++"));
    expect(run("build-native.mjs").stderr).toMatch(/^no C\+\+ compiler was found on PATH: .*\n$/);
    unlinkSync(join(bin, "cmake"));
    expect(run("build-native.mjs").stderr).toMatch(/^cmake was not found on PATH: .*\n$/);
  });

  it("build-native refuses an unknown option", () => {
    expect(run("build-native.mjs", "--asna")).toMatchObject({ status: 1 });
  });

  it("format-native passes, and says so, without clang-format", () => {
    expect(run("format-native.mjs")).toMatchObject({ status: 0, stdout: "skipped: no clang-format\n" });
  });

  it("format-native fails where clang-format complains, and names the command that mends it", () => {
    program("clang-format", '#!/bin/sh\n[ "$1" = --version ] && echo version 14 && exit 0\nexit 1\n');
    const { status, stderr } = run("format-native.mjs");
    expect(status).toBe(1);
    expect(stderr).toContain('not formatted as .clang-format says (version 14): "npm run format" mends it.');
  });
});
