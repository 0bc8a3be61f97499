import { useEffect, useState } from "react";
import { act } from "../act";
import { duration, fact } from "../text";
import { readRuns } from "./store";
import type { Run } from "./types";

const PICTURE_MS = 2000;
const GOING = ["starting", "running", "silent"];

export function RunCard({ run, mayStop }: { run: Run; mayStop: boolean }) {
  const [open, setOpen] = useState(location.hash === `#${run.name}`);
  const goes = GOING.includes(run.state);
  const word = run.verdict || (run.paused ? "paused" : run.state);
  return (
    <article className="panel run" data-testid={`run-${run.name}`}>
      <Thumb run={run} live={goes} />
      <div className="what">
        <div className="line">
          <b>{run.page ? <a href={`runs/${run.name}/`} data-testid="open">{run.name}</a> : run.name}</b>
          <span className="grow" />
          <span className={`verdict ${run.state === "lost" ? "failed" : word}`} data-testid="state"><i aria-hidden="true" />{word}</span>
        </div>
        <p className="hint">{run.workflow && `${run.workflow}, `}{run.who && <>started by <b>{run.who}</b>, </>}{new Date(run.began * 1000).toLocaleString()}</p>
        <Progress run={run} />
        {run.reasons.length > 0 && <p className="why">{run.reasons.join("; ")}</p>}
        {run.state === "lost" && <p className="why">Its processes were ended before its report. <code>camlink recover {run.folder}</code> finishes what is there.</p>}
        {run.state === "silent" && <p className="why">Its page does not answer.</p>}
        <div className="line">
          {run.page && <a className="lever" href={`runs/${run.name}/`}>Open</a>}
          {run.state === "running" && mayStop && <Stop run={run} />}
          {run.state === "ended" && <a className="lever" href={`runs/${run.name}/report.json`}>Report</a>}
          {run.state === "ended" && <button className="lever" aria-expanded={open} onClick={() => setOpen(!open)}>{open ? "Less" : "More"}</button>}
        </div>
        {open && <More run={run} />}
      </div>
    </article>
  );
}

function Thumb({ run, live }: { run: Run; live: boolean }) {
  const [turn, setTurn] = useState(0);
  const [there, setThere] = useState(true);
  useEffect(() => {
    setThere(true);
    if (!live) return;
    const timer = setInterval(() => { setTurn((n) => n + 1); setThere(true); }, PICTURE_MS);
    return () => clearInterval(timer);
  }, [live]);
  return (
    <div className="thumb">
      {run.picture && there ? (
        <img alt={`picture of ${run.name}`} src={`runs/${run.name}/picture.png?${live ? turn : "kept"}`} onError={() => setThere(false)} />
      ) : <span>no picture{live ? " yet" : ""}</span>}
    </div>
  );
}

function Progress({ run }: { run: Run }) {
  const count = (name: string) => (typeof run.frames[name] === "number" ? (run.frames[name] as number) : 0);
  const expected = count("expected");
  return (
    <p className="frames">
      <progress max={Math.max(expected, 1)} value={Math.min(count("captured"), expected)} aria-label="frames captured" />
      <span><b>{count("captured")}</b> of {expected || "?"} frames</span>
      <span>{duration(run.elapsed_s)}</span>
    </p>
  );
}

function Stop({ run }: { run: Run }) {
  const [sure, setSure] = useState(false);
  const stop = () => void act("stop", {}, `runs/${run.name}/`).then(() => { setSure(false); void readRuns(); });
  return (
    <button className={`lever stop ${sure ? "sure" : ""}`} data-testid="stop" onBlur={() => setSure(false)}
      onClick={() => (sure ? stop() : setSure(true))}>{sure ? "Stop now?" : "Stop"}</button>
  );
}

function More({ run }: { run: Run }) {
  const rows: [string, unknown][] = [...Object.entries(run.frames), ...Object.entries(run.result), ["files", run.files], ["folder", run.folder]];
  return (
    <dl>
      {rows.filter(([, value]) => fact(value) !== "").map(([name, value]) => (
        <div key={name}><dt>{name.replaceAll("_", " ")}</dt><dd>{fact(value)}</dd></div>
      ))}
    </dl>
  );
}
