import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  base: "./", // the page of a run is served below that of a desk too
  build: {
    outDir: "../src/camlink/display/web/static",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the content security policy allows no inline script or font
    modulePreload: { polyfill: false },
    rollupOptions: { input: ["index.html", "desk.html"] },
  },
});
