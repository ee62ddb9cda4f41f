// Builds the page's half into the Python package: one ESM file and one style sheet.

import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.env.NBFERRY_STATIC ?? join(here, "..", "src", "nbferry", "static");

const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  target: ["es2022"],
  charset: "utf8",
  legalComments: "eof",
  logLevel: "warning",
};

/** `import source from "inline:./worker"`: that module, bundled on its own, as a string. */
const inline = {
  name: "inline",
  setup(builder) {
    builder.onResolve({ filter: /^inline:/ }, (args) => ({
      path: join(args.resolveDir, `${args.path.slice("inline:".length)}.ts`),
      namespace: "inline",
    }));
    builder.onLoad({ filter: /.*/, namespace: "inline" }, async (args) => {
      const built = await build({ ...common, entryPoints: [args.path], format: "iife", write: false });
      return { contents: built.outputFiles[0].text, loader: "text" };
    });
  },
};

await mkdir(out, { recursive: true });
await Promise.all([
  build({
    ...common,
    entryPoints: ["src/index.ts"],
    format: "esm",
    platform: "browser",
    plugins: [inline],
    outfile: join(out, "widget.js"),
  }),
  build({ ...common, entryPoints: ["src/ui/card.css"], outfile: join(out, "widget.css") }),
]);
