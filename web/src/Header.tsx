import { Levers } from "./Control";
import { usePage } from "./store";
import { duration, short } from "./text";
import type { RunStatus } from "./types";

const BELOW_A_DESK = location.pathname.startsWith("/runs/");

export function Header() {
  const status = usePage((page) => page.status);
  return (
      <header className="head">
        <h1>{BELOW_A_DESK ? <a href="../../" title="all runs">camlink</a> : "camlink"}</h1>
        <span className="workflow" data-testid="workflow">{status?.workflow ?? ""}</span>
        {status?.scan && <span className="scan">scan <b data-testid="scan">{status.scan}</b></span>}
        <Banner />
        <Frames status={status} />
        <span className="clock" data-testid="elapsed" aria-label="elapsed time">{duration(status?.elapsed_s ?? 0)}</span>
        <Levers />
        <Verdict status={status} />
      </header>
  );
}

function Frames({ status }: { status: RunStatus | null }) {
  const count = (name: string) => (typeof status?.frames[name] === "number" ? (status.frames[name] as number) : null);
  const expected = count("expected");
  const captured = count("captured");
  if (!expected && !captured) return null;
  const part = expected && captured ? Math.min(100, (100 * captured) / expected) : 0;
  return (
    <span className="frames" data-testid="frames">
      <progress max={100} value={part} aria-label="frames captured" />
      <b>{captured ?? 0}</b> of {expected ?? "?"} frames
    </span>
  );
}

function Verdict({ status }: { status: RunStatus | null }) {
  const failed = status?.steps.some((step) => step.state === "failed");
  const word = status?.verdict ?? (status ? (failed ? "failing" : status.paused ? "paused" : "running") : "waiting");
  const reasons = status?.reasons.join("; ") ?? "";
  return (
    <span className={`verdict ${word}`} role="status" data-testid="verdict" title={reasons}>
      <i aria-hidden="true" />{word}
    </span>
  );
}

function Banner() {
  const connection = usePage((page) => page.connection);
  const retry = usePage((page) => page.retryInS);
  const complaint = usePage((page) => page.complaint);
  const status = usePage((page) => page.status);
  const verdict = status?.verdict;
  if (connection !== "live" && verdict) {
    return <p className="banner" data-testid="banner">The run has ended and its server is closed; this is its final picture.</p>;
  }
  if (connection === "lost") {
    return <p className="banner bad" role="alert" data-testid="banner">No connection to the run; trying again in {short(retry)} s. What you see is the last that arrived.</p>;
  }
  if (complaint) return <p className="banner bad" role="alert" data-testid="banner">{complaint}</p>;
  if (verdict) {
    const why = status.reasons.length ? ` ${status.reasons.join("; ")}.` : "";
    return <p className={`banner ${verdict}`} data-testid="banner">The run has ended; this is its final picture.{why}</p>;
  }
  return <span className="grow" />;
}
