/** A thread for the tests of workerPool: does what the request says. */
import { parentPort, workerData } from "node:worker_threads";

let calls = 0;
parentPort.on("message", async ({ doThis, value, milliseconds }) => {
  calls++;
  switch (doThis) {
    case "double":
      parentPort.postMessage({ answer: value * workerData.factor });
      return;
    case "count":
      if (milliseconds) await new Promise((resolve) => setTimeout(resolve, milliseconds));
      parentPort.postMessage({ answer: calls });
      return;
    case "busy": {
      // As native code is: nothing else runs in this thread meanwhile.
      const end = performance.now() + milliseconds;
      while (performance.now() < end);
      parentPort.postMessage({ answer: calls });
      return;
    }
    case "refuse":
      parentPort.postMessage({ failure: { kind: value, message: `refused as ${value}` } });
      return;
    case "throw":
      throw new TypeError("a mistake");
    case "leave":
      process.exit(value);
  }
});
