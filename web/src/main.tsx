import "@xyflow/react/dist/base.css";
import "./style.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { connect } from "./socket";
import { usePage } from "./store";

async function readColours(): Promise<void> {
  for (;;) {
    try {
      const answer = await fetch("api/colours");
      if (answer.status === 401) return location.replace("login");
      if (answer.ok) return usePage.setState({ colours: (await answer.json()) as Record<string, string[]> });
    } catch {
      // the server is away: the banner says so, and we ask again
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

void readColours();
connect();
createRoot(document.getElementById("root")!).render(<StrictMode><App /></StrictMode>);
