/**
 * A vitest reporter that writes one line, "N passed, N failed, N skipped", to the file that LATDYN_TEST_SUMMARY
 * names, for .ci/run to print last. A test file that cannot be loaded, and an error outside any test, count as
 * failed: neither appears in the number of tests.
 */
import { writeFileSync } from "node:fs";

const file = process.env.LATDYN_TEST_SUMMARY;
if (!file)
  throw new Error("ci-reporter: LATDYN_TEST_SUMMARY is not set, expected the file to write the summary to");

// A class, because vitest calls `new` on what it finds at the path of a reporter.
export default class SummaryReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      counts.failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        counts[state === "passed" || state === "failed" ? state : "skipped"]++;
      }
    }
    writeFileSync(file, `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
  }
}
