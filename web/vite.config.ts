import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../src/camlink/display/web/static",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the content security policy allows no inline script or font
    modulePreload: { polyfill: false },
  },
});
