import { useState } from "react";
import { Accounting } from "./Accounting";
import { Control } from "./Control";
import { Notes } from "./Notes";
import { usePage } from "./store";
import type { RunStatus } from "./types";

export function Side() {
  const status = usePage((page) => page.status);
  const [tab, setTab] = useState<"frames" | "facts" | "control">("frames");
  const warnings = warningsOf(status);
  return (
    <section className="panel side" aria-label="Frames, facts and control" data-testid="panel-side">
      <header>
        <div className="tabs" role="tablist" aria-label="frames, facts or control">
          <button role="tab" aria-selected={tab === "frames"} onClick={() => setTab("frames")} data-testid="tab-frames">Frames by link</button>
          <button role="tab" aria-selected={tab === "facts"} onClick={() => setTab("facts")} data-testid="tab-facts">Facts</button>
          <button role="tab" aria-selected={tab === "control"} onClick={() => setTab("control")} data-testid="tab-control">Control</button>
        </div>
        <span className="grow" />
        {warnings.length > 0 && <b className="dropped">{warnings.length} warning{warnings.length > 1 ? "s" : ""}</b>}
      </header>
      {warnings.length > 0 && (
        <ul className="warnings" data-testid="warnings">{warnings.map((text, k) => <li key={k}>{text}</li>)}</ul>
      )}
      {tab === "frames" && <Accounting links={status?.links ?? []} />}
      {tab === "facts" && <Notes operators={status?.operators ?? []} />}
      {tab === "control" && <Control />}
    </section>
  );
}

function warningsOf(status: RunStatus | null): string[] {
  const operators = status?.operators ?? [];
  return [
    ...(status?.reasons ?? []),
    ...operators.flatMap(({ name, facts }) => {
      const found = facts["warnings"];
      return Array.isArray(found) ? found.map((text) => `${name}: ${text}`) : [];
    }),
    ...operators.filter((o) => o.state === "failed").map((o) => `${o.name} failed: ${o.text}`),
  ];
}
