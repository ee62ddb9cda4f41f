import { defineConfig } from "vitest/config";

const INLINE = /^inline:/;

export default defineConfig({
  test: { include: ["test/**/*.test.ts"], testTimeout: 30_000 },
  plugins: [
    {
      // what build.mjs makes of it; there are no workers in tests
      name: "inline",
      enforce: "pre",
      resolveId: (name) => (INLINE.test(name) ? name : null),
      load: (name) => (INLINE.test(name) ? 'export default "";' : null),
    },
  ],
});
