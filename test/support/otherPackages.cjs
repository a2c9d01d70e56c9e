/**
 * For --require: packages that TEST_PACKAGES names (a JSON object) are found in the folder that it gives, or, where
 * that is null, not at all.
 */
const Module = require("node:module");
const { join } = require("node:path");

const folders = JSON.parse(process.env.TEST_PACKAGES);
const resolve = Module._resolveFilename;
Module._resolveFilename = (request, ...rest) => {
  const name = Object.keys(folders).find((each) => request === each || request.startsWith(`${each}/`));
  if (name === undefined) return resolve.call(Module, request, ...rest);
  const folder = folders[name];
  if (folder !== null) return resolve.call(Module, join(folder, request.slice(name.length)), ...rest);
  throw Object.assign(new Error(`Cannot find module '${request}'`), { code: "MODULE_NOT_FOUND" });
};
