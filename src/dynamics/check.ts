/** The checks of options, where the method's own files and their tests look for them. */
export * from "../check.js";
